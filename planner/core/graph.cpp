#include "core/graph.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

namespace fastsa {
namespace {

constexpr Seconds kMostSeconds = 1e100;  // recomputations must not make it infinite

[[noreturn]] void fail(const std::string& place, const std::string& reason) {
  throw BadRequest(place + ": " + reason);
}

std::string op_name(std::size_t op) { return "op " + std::to_string(op); }

void check_ids(const std::string& place, const std::vector<ValueId>& ids, std::size_t values) {
  for (ValueId id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= values) {
      fail(place, "there is no value " + std::to_string(id));
    }
  }
  std::vector<ValueId> sorted = ids;
  std::ranges::sort(sorted);
  if (std::ranges::adjacent_find(sorted) != sorted.end()) fail(place, "a value is listed twice");
}

void check_sizes(const std::vector<Bytes>& value_bytes, const std::vector<Op>& ops) {
  Bytes room = kMostBytes;
  const auto take = [&room](const std::string& place, Bytes bytes) {
    if (bytes < 0) fail(place, "negative bytes");
    if (bytes > room) fail(place, "the bytes add up to more than 2^60");
    room -= bytes;
  };
  for (std::size_t i = 0; i < value_bytes.size(); ++i) {
    take("value " + std::to_string(i), value_bytes[i]);
  }
  Bytes largest = 0;
  for (const Op& op : ops) largest = std::max(largest, op.workspace);
  take("workspace", largest);
}

void check_op(std::size_t id, const Op& op, std::size_t segments, std::size_t values) {
  const std::string place = op_name(id);
  if (!(op.seconds >= 0) || !std::isfinite(op.seconds)) fail(place, "its seconds are not a time");
  if (op.workspace < 0) fail(place, "negative workspace");
  if (op.segment < 0 || static_cast<std::size_t>(op.segment) >= segments) {
    fail(place, "there is no segment " + std::to_string(op.segment));
  }
  check_ids(place + " inputs", op.inputs, values);
  check_ids(place + " outputs", op.outputs, values);
}

std::vector<OpId> producers(const std::vector<Op>& ops, std::size_t values) {
  std::vector<OpId> producer(values, kNoOp);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    for (ValueId value : ops[i].outputs) {
      if (producer[value] != kNoOp) {
        fail(op_name(i), "value " + std::to_string(value) + " is already produced");
      }
      producer[value] = static_cast<OpId>(i);
    }
  }
  return producer;
}

std::vector<std::vector<ValueId>> produced_inputs(const std::vector<Op>& ops,
                                                  const std::vector<OpId>& producer) {
  std::vector<std::vector<ValueId>> inputs(ops.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    for (ValueId value : ops[i].inputs) {
      if (producer[value] == kNoOp) continue;
      if (static_cast<std::size_t>(producer[value]) >= i) {
        fail(op_name(i), "value " + std::to_string(value) + " is produced later");
      }
      inputs[i].push_back(value);
    }
  }
  return inputs;
}

std::vector<SegmentId> last_segments(const std::vector<RegionId>& regions) {
  std::vector<SegmentId> last(regions.size());
  std::unordered_map<RegionId, SegmentId> last_of_region;
  for (std::size_t s = regions.size(); s-- > 0;) {
    last[s] = last_of_region.try_emplace(regions[s], static_cast<SegmentId>(s)).first->second;
  }
  return last;
}

}  // namespace

Lists::Lists(const std::vector<std::vector<std::int32_t>>& lists) : starts_(lists.size() + 1, 0) {
  for (std::size_t i = 0; i < lists.size(); ++i) starts_[i + 1] = starts_[i] + lists[i].size();
  items_.reserve(starts_.back());
  for (const auto& list : lists) items_.insert(items_.end(), list.begin(), list.end());
}

Graph::Graph(std::vector<RegionId> segment_regions, std::vector<Bytes> value_bytes,
             std::vector<Op> ops, std::vector<ValueId> outputs)
    : regions_(std::move(segment_regions)),
      last_segment_(last_segments(regions_)),
      bytes_(std::move(value_bytes)) {
  check_sizes(bytes_, ops);
  check_ids("graph outputs", outputs, bytes_.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    check_op(i, ops[i], regions_.size(), bytes_.size());
    if (i > 0 && ops[i].segment < ops[i - 1].segment) fail(op_name(i), "not sorted by segment");
    total_seconds_ += ops[i].seconds;
    ops_.push_back({ops[i].seconds, ops[i].workspace, ops[i].segment, ops[i].recomputable});
  }
  if (!(total_seconds_ <= kMostSeconds)) fail("ops", "their seconds add up to too much");
  producer_ = producers(ops, bytes_.size());
  is_output_.assign(bytes_.size(), 0);
  for (ValueId value : outputs) is_output_[value] = producer_[value] != kNoOp;

  const auto inputs = produced_inputs(ops, producer_);
  std::vector<std::vector<ValueId>> made(ops.size());
  std::vector<std::vector<OpId>> consumers(bytes_.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    made[i] = std::move(ops[i].outputs);
    for (ValueId value : inputs[i]) consumers[value].push_back(static_cast<OpId>(i));
  }
  inputs_ = Lists(inputs);
  outputs_ = Lists(made);
  consumers_ = Lists(consumers);
}

Order Graph::base_order() const {
  Order order;
  order.sequence.resize(ops_.size());
  std::iota(order.sequence.begin(), order.sequence.end(), OpId{0});
  for (SegmentId s = 0; s < segments(); ++s) {
    const auto first = std::ranges::lower_bound(ops_, s, {}, &Scalars::segment);
    order.segment_starts.push_back(static_cast<Position>(first - ops_.begin()));
  }
  return order;
}

}  // namespace fastsa
