#include "core/cut.h"

#include <algorithm>
#include <cmath>

namespace fastsa {
namespace {

// Capacities are whole numbers: all ops' seconds together are 2^44, rounded down, and a cut through
// what may not be recomputed is dearer than any other.
constexpr double kWhole = 0x1p44;
constexpr double kLargestKeep = 0x1p56;  // of all values together
constexpr Capacity kNever = Capacity{1} << 58;

}  // namespace

CutAt::CutAt(const Graph& graph, OpId op, bool op_itself, Bytes budget)
    : graph_(graph),
      room_(budget),
      scale_(graph.total_seconds() > 0 ? kWhole / graph.total_seconds() : 0),
      when_(static_cast<std::size_t>(graph.ops()), When::kUnknown),
      there_(static_cast<std::size_t>(graph.values()), 0),
      value_node_(static_cast<std::size_t>(graph.values()), -1),
      op_node_(static_cast<std::size_t>(graph.ops()), -1) {
  classify(op, op_itself);
  if (op_itself) {
    room_ -= graph.workspace(op);
    for (ValueId v : graph.outputs(op)) room_ -= graph.bytes(v);
    for (ValueId v : graph.inputs(op)) {
      room_ -= graph.bytes(v);
      there_[v] = 1;
    }
  }
  connect();
}

void CutAt::classify(OpId op, bool op_itself) {
  const SegmentId segment = graph_.segment(op);
  for (OpId each = 0; each < graph_.ops(); ++each) {
    if (graph_.segment(each) < segment) {
      when_[each] = When::kBefore;
    } else if (graph_.segment(each) > segment || !op_itself) {
      when_[each] = When::kAfter;
    }
  }
  if (!op_itself) return;
  when_[op] = When::kAfter;
  for (OpId each = op + 1; each < graph_.ops() && graph_.segment(each) == segment; ++each) {
    for (ValueId v : graph_.inputs(each)) {
      if (when_[graph_.producer(v)] == When::kAfter) when_[each] = When::kAfter;
    }
  }
  std::vector<OpId> ancestors{op};
  while (!ancestors.empty()) {
    const OpId each = ancestors.back();
    ancestors.pop_back();
    for (ValueId v : graph_.inputs(each)) {
      const OpId producer = graph_.producer(v);
      if (when_[producer] != When::kUnknown) continue;
      when_[producer] = When::kBefore;
      ancestors.push_back(producer);
    }
  }
}

// Adds a node for a value that has to be kept or made again, unless it is there for nothing.
void CutAt::need(ValueId value) {
  if (there_[value] || value_node_[value] >= 0) return;
  if (when_[graph_.producer(value)] != When::kBefore) return;
  value_node_[value] = flow_.add_node();
  values_.push_back(value);
}

void CutAt::connect() {
  for (OpId op = 0; op < graph_.ops(); ++op) {
    if (when_[op] != When::kAfter) continue;
    for (ValueId v : graph_.inputs(op)) need(v);
  }
  for (ValueId v = 0; v < graph_.values(); ++v) {
    if (graph_.is_output(v)) need(v);
  }
  for (ValueId v : values_) wanted_ += graph_.bytes(v);
  for (ValueId v : values_) {
    priced_.push_back({flow_.add_edge(MaxFlow::kSource, value_node_[v], 0), v});
  }
  for (std::size_t i = 0; i < values_.size(); ++i) {  // grows on the way
    const ValueId v = values_[i];
    const OpId op = graph_.producer(v);
    const bool known = op_node_[op] >= 0;
    if (!known) op_node_[op] = flow_.add_node();
    priced_.push_back({flow_.add_edge(value_node_[v], op_node_[op], 0), v});
    if (known) continue;
    const Capacity cost =
        graph_.recomputable(op) ? static_cast<Capacity>(graph_.seconds(op) * scale_) : kNever;
    flow_.add_edge(op_node_[op], MaxFlow::kSink, cost);
    if (!graph_.recomputable(op)) continue;
    for (ValueId input : graph_.inputs(op)) {
      need(input);
      if (value_node_[input] < 0) continue;
      priced_.push_back({flow_.add_edge(op_node_[op], value_node_[input], 0), input});
    }
  }
}

Cut CutAt::solve(double price, const Stop& stop) {
  // No more than a value's own price ever flows through it: a finite capacity does for its edges.
  double total = 0;
  for (ValueId v : values_) total += static_cast<double>(graph_.bytes(v));
  double per_byte = price * scale_;
  if (total > 0) per_byte = std::min(per_byte, kLargestKeep / total);
  for (const auto& [edge, value] : priced_) {
    flow_.set_capacity(edge, static_cast<Capacity>(
                                 std::floor(per_byte * static_cast<double>(graph_.bytes(value)))));
  }
  Cut cut;
  const Capacity value = flow_.solve(stop);
  if (value < 0) return cut;
  cut.complete = true;
  cut.dropped.assign(static_cast<std::size_t>(graph_.values()), 0);
  for (ValueId v : values_) {
    if (!flow_.with_source(value_node_[v])) continue;
    if (flow_.with_source(op_node_[graph_.producer(v)])) {
      cut.dropped[v] = 1;
    } else {
      cut.kept += graph_.bytes(v);
    }
  }
  if (scale_ > 0) {
    const double whole = static_cast<double>(value) - per_byte * static_cast<double>(room_);
    cut.bound = std::max(0.0, whole / scale_);
  }
  return cut;
}

}  // namespace fastsa
