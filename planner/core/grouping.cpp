#include "core/grouping.h"

#include <algorithm>
#include <iterator>

namespace fastsa {
namespace {

constexpr std::size_t kLargestGroup = 32;  // bounds the work on long chains

class Grouper {
 public:
  explicit Grouper(const Graph& graph)
      : graph_(graph),
        members_(static_cast<std::size_t>(graph.ops())),
        fused_(static_cast<std::size_t>(graph.ops()), 0) {
    for (OpId op = 0; op < graph.ops(); ++op) members_[op] = {op};
  }

  Grouping run() {
    for (OpId op = 0; op < graph_.ops(); ++op) {
      if (fusible(op)) fuse(op);
    }
    std::vector<std::vector<OpId>> members;
    std::vector<Op> ops;
    for (OpId op = 0; op < graph_.ops(); ++op) {
      if (fused_[op]) continue;
      ops.push_back(describe(op));
      members.push_back(members_[op]);
    }
    return {coarse(std::move(ops)), std::move(members)};
  }

 private:
  Bytes total(std::span<const ValueId> values) const {
    Bytes sum = 0;
    for (ValueId v : values) sum += graph_.bytes(v);
    return sum;
  }

  bool fusible(OpId op) const {
    const auto outputs = graph_.outputs(op);
    if (outputs.empty() || !graph_.recomputable(op)) return false;
    if (total(graph_.inputs(op)) > total(outputs)) return false;
    const auto consumers = graph_.consumers(outputs.front());
    const bool all_taken = std::ranges::all_of(outputs, [&](ValueId v) {
      return !graph_.is_output(v) && std::ranges::equal(graph_.consumers(v), consumers);
    });
    const auto takes = [&](OpId consumer) { return may_hold(consumer, op); };
    return all_taken && !consumers.empty() &&
           graph_.segment(consumers.front()) == graph_.segment(op) &&
           std::ranges::all_of(consumers, takes);
  }

  bool may_hold(OpId consumer, OpId op) const {
    return graph_.region(consumer) == graph_.region(op) &&
           members_[consumer].size() + members_[op].size() <= kLargestGroup;
  }

  void fuse(OpId op) {
    fused_[op] = 1;
    for (OpId consumer : graph_.consumers(graph_.outputs(op).front())) {
      std::vector<OpId> both;
      std::ranges::set_union(members_[op], members_[consumer], std::back_inserter(both));
      members_[consumer] = std::move(both);
    }
  }

  Op describe(OpId anchor) const {
    const auto& members = members_[anchor];
    Op op;
    op.segment = graph_.segment(anchor);
    op.recomputable = std::ranges::all_of(members, [&](OpId m) { return graph_.recomputable(m); });
    op.workspace = workspace(anchor);
    op.outputs.assign(graph_.outputs(anchor).begin(), graph_.outputs(anchor).end());
    for (OpId member : members) {
      op.seconds += graph_.seconds(member);
      for (ValueId v : graph_.inputs(member)) {
        if (!std::ranges::binary_search(members, graph_.producer(v))) op.inputs.push_back(v);
      }
    }
    std::ranges::sort(op.inputs);
    op.inputs.erase(std::unique(op.inputs.begin(), op.inputs.end()), op.inputs.end());
    return op;
  }

  // What the group holds within itself: at most all that its members made so far.
  Bytes workspace(OpId anchor) const {
    Bytes made = 0;
    Bytes most = 0;
    for (OpId member : members_[anchor]) {
      if (member != anchor) made += total(graph_.outputs(member));
      most = std::max(most, made + graph_.workspace(member));
    }
    return most;
  }

  Graph coarse(std::vector<Op> ops) const {
    std::vector<RegionId> regions;
    for (SegmentId s = 0; s < graph_.segments(); ++s) regions.push_back(graph_.segment_region(s));
    std::vector<Bytes> bytes;
    std::vector<ValueId> outputs;
    for (ValueId v = 0; v < graph_.values(); ++v) {
      const OpId producer = graph_.producer(v);
      const bool internal = producer != kNoOp && fused_[producer];
      bytes.push_back(internal ? 0 : graph_.bytes(v));  // workspace of its groups instead
      if (graph_.is_output(v)) outputs.push_back(v);
    }
    return Graph(std::move(regions), std::move(bytes), std::move(ops), std::move(outputs));
  }

  const Graph& graph_;
  std::vector<std::vector<OpId>> members_;
  std::vector<char> fused_;
};

}  // namespace

Order Grouping::expand(const Order& order) const {
  Order expanded;
  std::size_t segment = 0;
  for (std::size_t k = 0; k <= order.sequence.size(); ++k) {
    while (segment < order.segment_starts.size() &&
           static_cast<std::size_t>(order.segment_starts[segment]) == k) {
      expanded.segment_starts.push_back(static_cast<Position>(expanded.sequence.size()));
      ++segment;
    }
    if (k == order.sequence.size()) break;
    const auto& group = members[order.sequence[k]];
    expanded.sequence.insert(expanded.sequence.end(), group.begin(), group.end());
  }
  return expanded;
}

Grouping group(const Graph& graph) { return Grouper(graph).run(); }

}  // namespace fastsa
