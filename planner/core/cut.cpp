#include "core/cut.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fastsa {
namespace {

// Capacities are whole numbers: all ops' seconds together are 2^44, rounded down, and a cut through
// what may not be recomputed is dearer than any other.
constexpr double kWhole = 0x1p44;
constexpr Seconds kLeastSeconds = 1e-200;      // a step that takes less takes nothing
constexpr double kLargestKeep = 0x1p56;        // of all values together
constexpr Capacity kGone = Capacity{1} << 45;  // more than making all again
constexpr Capacity kNever = Capacity{1} << 58;

constexpr double kStride = 4;
constexpr double kSame = 1e-9;  // relative

}  // namespace

Moment Moment::first_run(const Graph& graph, OpId op) {
  Moment moment = start(graph, op);
  moment.running = true;
  const SegmentId segment = graph.segment(op);
  for (OpId each = 0; each < graph.ops(); ++each) {
    if (graph.segment(each) == segment) moment.when[each] = When::kUnknown;
  }
  moment.when[op] = When::kAfter;
  for (OpId each = op + 1; each < graph.ops() && graph.segment(each) == segment; ++each) {
    for (ValueId v : graph.inputs(each)) {
      if (moment.when[graph.producer(v)] == When::kAfter) moment.when[each] = When::kAfter;
    }
  }
  std::vector<OpId> ancestors{op};
  while (!ancestors.empty()) {
    const OpId each = ancestors.back();
    ancestors.pop_back();
    for (ValueId v : graph.inputs(each)) {
      const OpId producer = graph.producer(v);
      if (moment.when[producer] != When::kUnknown) continue;
      moment.when[producer] = When::kBefore;
      ancestors.push_back(producer);
    }
  }
  return moment;
}

Moment Moment::start(const Graph& graph, OpId op) {
  Moment moment{op, false, {}, {}};
  for (OpId each = 0; each < graph.ops(); ++each) {
    const bool before = graph.segment(each) < graph.segment(op);
    moment.when.push_back(before ? When::kBefore : When::kAfter);
  }
  return moment;
}

CutAt::CutAt(const Graph& graph, Moment moment, Bytes budget)
    : graph_(graph),
      moment_(std::move(moment)),
      room_(budget),
      scale_(graph.total_seconds() > kLeastSeconds ? kWhole / graph.total_seconds() : 0),
      there_(static_cast<std::size_t>(graph.values()), 0),
      value_node_(static_cast<std::size_t>(graph.values()), -1),
      op_node_(static_cast<std::size_t>(graph.ops()), -1) {
  if (moment_.running) touch(moment_.op);
  connect();
}

void CutAt::touch(OpId op) {
  room_ -= graph_.workspace(op);
  for (ValueId v : graph_.outputs(op)) room_ -= graph_.bytes(v);
  for (ValueId v : graph_.inputs(op)) {
    room_ -= graph_.bytes(v);
    there_[v] = 1;
  }
}

// Adds a node for a value that has to be kept or made again, unless it is there for nothing.
void CutAt::need(ValueId value) {
  if (there_[value] || value_node_[value] >= 0) return;
  if (moment_.when[graph_.producer(value)] == When::kAfter) return;
  value_node_[value] = flow_.add_node();
  values_.push_back(value);
}

void CutAt::connect() {
  for (OpId op = 0; op < graph_.ops(); ++op) {
    if (moment_.when[op] != When::kAfter) continue;
    for (ValueId v : graph_.inputs(op)) need(v);
  }
  for (ValueId v = 0; v < graph_.values(); ++v) {
    if (graph_.is_output(v)) need(v);
  }
  for (ValueId v : values_) wanted_ += graph_.bytes(v);
  for (ValueId v : values_) {
    priced_.push_back({flow_.add_edge(MaxFlow::kSource, value_node_[v], 0), v});
  }
  for (std::size_t i = 0; i < values_.size(); ++i) connect_producer(values_[i]);  // grows
  for (OpId op = 0; op < graph_.ops(); ++op) {
    if (moment_.when[op] == When::kUnknown && op_node_[op] >= 0) connect_dependents(op);
  }
}

bool CutAt::may_run_again(OpId op) const {
  return graph_.recomputable(op) && graph_.last_segment(op) >= graph_.segment(moment_.op);
}

// Running the op once more, after the moment, costs its time.
void CutAt::charge(OpId op, Node from, Node to) {
  if (!may_run_again(op)) {
    flow_.add_edge(from, to, kNever);
    return;
  }
  flow_.add_edge(from, to, static_cast<Capacity>(graph_.seconds(op) * scale_));
  several_ = several_ || region_.value_or(graph_.region(op)) != graph_.region(op);
  region_ = graph_.region(op);
}

// A needed value is kept, or its producer runs after the moment and needs its own inputs then.
void CutAt::connect_producer(ValueId value) {
  const OpId op = graph_.producer(value);
  const bool known = op_node_[op] >= 0;
  if (!known) op_node_[op] = flow_.add_node();
  priced_.push_back({flow_.add_edge(value_node_[value], op_node_[op], 0), value});
  if (known) return;
  const bool ran = moment_.when[op] == When::kBefore;
  if (ran) charge(op, op_node_[op], MaxFlow::kSink);
  if (ran && !may_run_again(op)) return;
  for (ValueId input : graph_.inputs(op)) {
    need(input);
    if (value_node_[input] < 0) continue;
    priced_.push_back({flow_.add_edge(op_node_[op], value_node_[input], 0), input});
  }
}

// If all that read its values run after the moment too, so may the op's only run.
void CutAt::connect_dependents(OpId op) {
  const Node together = flow_.add_node();
  charge(op, op_node_[op], together);
  for (ValueId v : graph_.outputs(op)) {
    for (OpId reader : graph_.consumers(v)) {
      if (moment_.when[reader] != When::kUnknown) continue;
      // One that nothing needs later has run before or runs after as it likes.
      if (op_node_[reader] >= 0) flow_.add_edge(together, op_node_[reader], kNever);
    }
  }
}

// No more than a value's own price ever flows through it: a finite capacity does for its edges.
Capacity CutAt::keeping(ValueId value, double per_byte) const {
  if (!moment_.gone.empty() && moment_.gone[value]) return kGone;
  return static_cast<Capacity>(std::floor(per_byte * static_cast<double>(graph_.bytes(value))));
}

Cut CutAt::solve(double price, const Stop& stop) {
  double total = 0;
  for (ValueId v : values_) total += static_cast<double>(graph_.bytes(v));
  double per_byte = price * scale_;
  if (total > 0) per_byte = std::min(per_byte, kLargestKeep / total);
  for (const auto& [edge, value] : priced_) {
    flow_.set_capacity(edge, keeping(value, per_byte));
  }
  Cut cut;
  const Capacity value = flow_.solve(stop);
  if (value < 0) return cut;
  cut.complete = true;
  cut.dropped.assign(static_cast<std::size_t>(graph_.values()), 0);
  cut.later.assign(static_cast<std::size_t>(graph_.ops()), 0);
  for (ValueId v : values_) {
    if (!flow_.with_source(value_node_[v])) continue;
    const OpId op = graph_.producer(v);
    if (!flow_.with_source(op_node_[op])) {
      cut.kept += graph_.bytes(v);
    } else {
      cut.dropped[v] = 1;
      cut.later[op] = 1;
    }
  }
  if (scale_ > 0) {
    const auto whole = static_cast<double>(value);
    cut.bound = std::max(0.0, (whole - per_byte * static_cast<double>(room_)) / scale_);
    cut.recomputed = (whole - per_byte * static_cast<double>(cut.kept)) / scale_;
  }
  return cut;
}

void PriceSearch::take(Cut cut) {
  (cut.kept > room_ ? much_ : little_) = std::move(cut);
  const double price = next();
  done_ = !(std::abs(price - price_) > kSame * price_);
  price_ = price;
}

double PriceSearch::next() const {
  if (!little_) return price_ * kStride;
  if (!much_) return price_ / kStride;
  const auto bytes = static_cast<double>(much_->kept - little_->kept);
  return std::max(0.0, (little_->recomputed - much_->recomputed) / bytes);
}

}  // namespace fastsa
