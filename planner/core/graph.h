// What one training step computes: ops, the values between them, and the segments they run in.
#pragma once

#include <span>
#include <vector>

#include "core/types.h"

namespace fastsa {

struct Op {
  Seconds seconds = 0;
  Bytes workspace = 0;
  SegmentId segment = 0;
  bool recomputable = true;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
};

// Lists of ids, one after the other, in one array.
class Lists {
 public:
  explicit Lists(const std::vector<std::vector<std::int32_t>>& lists);
  std::span<const std::int32_t> operator[](std::int32_t i) const {
    return {items_.data() + starts_[i], items_.data() + starts_[i + 1]};
  }

 private:
  std::vector<std::size_t> starts_;
  std::vector<std::int32_t> items_;
};

// Immutable. Ops are in a legal order, sorted by segment. Values that no op produces are inputs of
// the step: resident, of no weight, always there; the wiring below leaves them out.
class Graph {
 public:
  // Throws BadRequest naming the op and the reason if the description makes no sense.
  Graph(std::vector<RegionId> segment_regions, std::vector<Bytes> value_bytes, std::vector<Op> ops,
        std::vector<ValueId> outputs);

  OpId ops() const { return static_cast<OpId>(ops_.size()); }
  ValueId values() const { return static_cast<ValueId>(bytes_.size()); }
  SegmentId segments() const { return static_cast<SegmentId>(regions_.size()); }

  Seconds seconds(OpId op) const { return ops_[op].seconds; }
  Seconds total_seconds() const { return total_seconds_; }
  Bytes workspace(OpId op) const { return ops_[op].workspace; }
  SegmentId segment(OpId op) const { return ops_[op].segment; }
  bool recomputable(OpId op) const { return ops_[op].recomputable; }
  RegionId region(OpId op) const { return regions_[ops_[op].segment]; }
  // The last segment it may run in: its own if it may run only once.
  SegmentId last_segment(OpId op) const {
    return ops_[op].recomputable ? last_segment_[ops_[op].segment] : ops_[op].segment;
  }
  RegionId segment_region(SegmentId segment) const { return regions_[segment]; }
  std::span<const ValueId> inputs(OpId op) const { return inputs_[op]; }
  std::span<const ValueId> outputs(OpId op) const { return outputs_[op]; }

  Bytes bytes(ValueId value) const { return bytes_[value]; }
  OpId producer(ValueId value) const { return producer_[value]; }
  bool is_output(ValueId value) const { return is_output_[value] != 0; }
  std::span<const OpId> consumers(ValueId value) const { return consumers_[value]; }

  // The order the step runs in when nothing is planned.
  Order base_order() const;

 private:
  struct Scalars {
    Seconds seconds;
    Bytes workspace;
    SegmentId segment;
    bool recomputable;
  };

  std::vector<RegionId> regions_;
  std::vector<SegmentId> last_segment_;  // by segment: the last of its region
  std::vector<Bytes> bytes_;
  std::vector<Scalars> ops_;
  Seconds total_seconds_ = 0;
  std::vector<OpId> producer_;
  std::vector<char> is_output_;
  Lists inputs_{{}};
  Lists outputs_{{}};
  Lists consumers_{{}};
};

}  // namespace fastsa
