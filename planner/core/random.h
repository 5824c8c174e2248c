// A small fast generator whose stream is the same on every platform (std distributions are not).
#pragma once

#include <bit>
#include <cstdint>

namespace fastsa {

class Random {
 public:
  explicit Random(std::uint64_t seed) {
    for (std::uint64_t& word : state_) word = mix(seed += 0x9e3779b97f4a7c15U);
  }

  std::uint64_t bits() {  // xoshiro256++
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Below `bound`, which is positive and fits 32 bits.
  std::int32_t below(std::int64_t bound) {
    return static_cast<std::int32_t>(((bits() >> 32) * static_cast<std::uint64_t>(bound)) >> 32);
  }

  // In (0, 1].
  double unit() { return static_cast<double>((bits() >> 11) + 1) * 0x1.0p-53; }

  bool chance(double probability) { return unit() <= probability; }

 private:
  static std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
  }

  std::uint64_t state_[4];
};

}  // namespace fastsa
