// Bytes alive per slot: add to a range, ask for the largest, each in O(log slots).
#pragma once

#include <algorithm>
#include <bit>
#include <vector>

#include "core/types.h"

namespace fastsa {

class PeakTree {
 public:
  // `bytes` gives every slot's start value.
  explicit PeakTree(const std::vector<Bytes>& bytes)
      : leaves_(static_cast<Slot>(std::bit_ceil(std::max<std::size_t>(bytes.size(), 2)))),
        nodes_(2 * static_cast<std::size_t>(leaves_)) {
    for (std::size_t i = 0; i < bytes.size(); ++i)
      nodes_[leaf(static_cast<Slot>(i))].max = bytes[i];
    for (Slot node = leaves_ - 1; node >= 1; --node) pull(node);
  }

  // Adds to the slots first..last, both included.
  void add(Slot first, Slot last, Bytes bytes) {
    moved_ += bytes < 0 ? -bytes : bytes;
    if (moved_ > kMostMoved) settle();
    Slot a = leaf(first);
    Slot b = leaf(last);
    apply(a, bytes);
    if (a != b) {
      apply(b, bytes);
      for (; (a ^ b) != 1; pull(a), pull(b)) {
        if ((a & 1) == 0) apply(a + 1, bytes);
        if ((b & 1) == 1) apply(b - 1, bytes);
        a >>= 1;
        b >>= 1;
      }
    }
    for (a >>= 1; a >= 1 && pull(a); a >>= 1) {
    }
  }

  Bytes max() const { return nodes_[1].max; }

  // The first slot that reaches the maximum.
  Slot argmax() const {
    Slot node = 1;
    while (node < leaves_)
      node = nodes_[2 * node].max >= nodes_[2 * node + 1].max ? 2 * node : 2 * node + 1;
    return node - leaves_;
  }

 private:
  // A node's maximum counts what was added to it as a whole, not what was added above it.
  struct Node {
    Bytes max = 0;
    Bytes added = 0;
  };

  // What is added to a range need not be taken off the same nodes: halves of it may go, and what
  // the nodes hold drifts apart. Before it can overflow it is moved down to the slots.
  static constexpr Bytes kMostMoved = Bytes{1} << 61;

  void settle() {
    moved_ = 0;
    for (Slot node = 1; node < leaves_; ++node) {
      apply(2 * node, nodes_[node].added);
      apply(2 * node + 1, nodes_[node].added);
      nodes_[node].added = 0;
    }
  }

  Slot leaf(Slot slot) const { return slot + leaves_; }

  void apply(Slot node, Bytes bytes) {
    nodes_[node].max += bytes;
    nodes_[node].added += bytes;
  }

  // Whether the node changed.
  bool pull(Slot node) {
    const Bytes max = std::max(nodes_[2 * node].max, nodes_[2 * node + 1].max) + nodes_[node].added;
    const bool changed = nodes_[node].max != max;
    nodes_[node].max = max;
    return changed;
  }

  Slot leaves_;
  Bytes moved_ = 0;  // since it was last settled
  std::vector<Node> nodes_;
};

}  // namespace fastsa
