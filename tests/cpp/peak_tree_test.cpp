#include "core/peak_tree.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace fastsa {
namespace {

TEST(PeakTree, AgreesWithAnArray) {
  for (std::size_t size : {1U, 2U, 3U, 8U, 13U, 64U}) {
    Random random(size);
    std::vector<Bytes> bytes(size);
    for (Bytes& each : bytes) each = random.below(20);
    PeakTree tree(bytes);
    for (int i = 0; i < 500; ++i) {
      Slot first = random.below(static_cast<std::int64_t>(size));
      Slot last = random.below(static_cast<std::int64_t>(size));
      if (first > last) std::swap(first, last);
      const Bytes change = random.below(41) - 20;
      tree.add(first, last, change);
      for (Slot s = first; s <= last; ++s) bytes[s] += change;
      const auto highest = std::ranges::max_element(bytes);
      if (*highest < 0) continue;  // slots beyond the size count as 0
      EXPECT_EQ(tree.max(), *highest);
      if (*highest > 0) {
        EXPECT_EQ(tree.argmax(), highest - bytes.begin());
      }
    }
  }
}

// What is added as a whole and taken off in halves must not pile up in the nodes.
TEST(PeakTree, DoesNotDriftOutOfRange) {
  constexpr Bytes kLarge = Bytes{1} << 59;
  PeakTree tree({0, 0, 0, 0});
  for (int i = 0; i < 100; ++i) {
    tree.add(0, 3, kLarge);
    EXPECT_EQ(tree.max(), kLarge);
    tree.add(0, 1, -kLarge);
    tree.add(2, 3, -kLarge);
    EXPECT_EQ(tree.max(), 0);
  }
}

}  // namespace
}  // namespace fastsa
