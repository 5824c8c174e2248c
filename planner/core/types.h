// The integers of the domain, by name.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace fastsa {

using Bytes = std::int64_t;
using Seconds = double;
using OpId = std::int32_t;
using ValueId = std::int32_t;
using SegmentId = std::int32_t;
using RegionId = std::int32_t;
using Position = std::int32_t;  // index into a sequence
using Slot = std::int32_t;      // index into a schedule's timeline, which has holes

constexpr OpId kNoOp = -1;
// Of all values together: sums of a few times as many do not overflow.
constexpr Bytes kMostBytes = Bytes{1} << 60;

// Op ids in the order to run them; an op listed again is recomputed there.
// One start per segment; segment i is the half-open range [starts[i], starts[i + 1]).
struct Order {
  std::vector<OpId> sequence;
  std::vector<Position> segment_starts;

  bool operator==(const Order&) const = default;
};

// A graph, an order or a request that makes no sense; says which and why.
struct BadRequest : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

}  // namespace fastsa
