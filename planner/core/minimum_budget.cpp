#include "core/minimum_budget.h"

#include <vector>

namespace fastsa {
namespace {

class MinimumBudgetFinder {
 public:
  explicit MinimumBudgetFinder(const Graph& graph)
      : graph_(graph), pinned_(static_cast<std::size_t>(graph.segments()) + 1, 0) {
    for (OpId op = 0; op < graph.ops(); ++op) {
      // An output's last production decides since when it stays: the only one there can be ...
      const SegmentId until = graph_.last_segment(op);
      for (ValueId v : graph.outputs(op)) {
        if (graph.is_output(v)) pinned_[until + 1] += graph.bytes(v);
      }
      pinned_since_.push_back(until + 1);  // ... or one in the last segment that may hold it
    }
    for (std::size_t s = 1; s < pinned_.size(); ++s) pinned_[s] += pinned_[s - 1];
  }

  MinimumBudget find() const {
    MinimumBudget minimum;
    for (OpId op = 0; op < graph_.ops(); ++op) {
      const Bytes bytes = while_running(op);
      if (minimum.op == kNoOp || bytes > minimum.bytes) minimum = {bytes, op};
    }
    const MinimumBudget end = at_the_end();
    return end.bytes > minimum.bytes ? end : minimum;
  }

 private:
  // When `op` runs first: what it touches, and the outputs that can only be there already.
  Bytes while_running(OpId op) const {
    const SegmentId segment = graph_.segment(op);
    Bytes bytes = pinned_[segment] + graph_.workspace(op);
    for (ValueId v : graph_.outputs(op)) bytes += graph_.bytes(v);
    for (ValueId v : graph_.inputs(op)) {
      const bool counted = graph_.is_output(v) && pinned_since_[graph_.producer(v)] <= segment;
      if (!counted) bytes += graph_.bytes(v);
    }
    return bytes;
  }

  // When the last op of all runs, every output is there; which op is last is for the plan to
  // choose.
  MinimumBudget at_the_end() const {
    if (graph_.ops() == 0) return {};
    const SegmentId segment = graph_.segment(graph_.ops() - 1);
    MinimumBudget least;
    for (OpId op = 0; op < graph_.ops(); ++op) {
      if (graph_.last_segment(op) < segment) continue;
      const Bytes bytes = beside_outputs(op);
      if (least.op == kNoOp || bytes < least.bytes) least = {bytes, op};
    }
    least.bytes += pinned_.back();
    return least;
  }

  Bytes beside_outputs(OpId op) const {
    Bytes bytes = graph_.workspace(op);
    for (ValueId v : graph_.inputs(op)) bytes += graph_.is_output(v) ? 0 : graph_.bytes(v);
    for (ValueId v : graph_.outputs(op)) bytes += graph_.is_output(v) ? 0 : graph_.bytes(v);
    return bytes;
  }

  const Graph& graph_;
  std::vector<Bytes> pinned_;            // by segment: outputs that are there when it starts
  std::vector<SegmentId> pinned_since_;  // by op: the first segment its outputs surely outlive
};

}  // namespace

MinimumBudget minimum_budget(const Graph& graph) { return MinimumBudgetFinder(graph).find(); }

}  // namespace fastsa
