// When to stop: a deadline, or somebody's wish.
#pragma once

#include <atomic>
#include <chrono>
#include <limits>

#include "core/types.h"

namespace fastsa {

using Clock = std::chrono::steady_clock;

inline Seconds seconds_since(Clock::time_point start) {
  return std::chrono::duration<Seconds>(Clock::now() - start).count();
}

constexpr Seconds kForever = std::numeric_limits<Seconds>::infinity();

class Stop {
 public:
  // Seconds from now; infinity for no deadline.
  explicit Stop(Seconds limit) : limit_(limit) {}

  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  Seconds elapsed() const { return seconds_since(start_); }
  Seconds left() const { return limit_ - elapsed(); }
  bool now() const { return cancelled() || elapsed() >= limit_; }

 private:
  Clock::time_point start_ = Clock::now();
  Seconds limit_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace fastsa
