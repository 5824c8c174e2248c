#include "core/just_in_time.h"

namespace fastsa {
namespace {

class Builder {
 public:
  Builder(const Graph& graph, const std::vector<char>& dropped)
      : graph_(graph), dropped_(dropped), made_in_(static_cast<std::size_t>(graph.ops()), -1) {}

  Order build() {
    SegmentId segment = 0;
    for (OpId op = 0; op < graph_.ops(); ++op) {
      for (; segment <= graph_.segment(op); ++segment) start_segment();
      make_inputs(op, graph_.segment(op));
      run(op, graph_.segment(op));
    }
    for (; segment < graph_.segments(); ++segment) start_segment();
    return std::move(order_);
  }

 private:
  void start_segment() {
    order_.segment_starts.push_back(static_cast<Position>(order_.sequence.size()));
  }

  void run(OpId op, SegmentId segment) {
    order_.sequence.push_back(op);
    made_in_[op] = segment;
  }

  bool missing(ValueId value, SegmentId segment) const {
    const OpId op = graph_.producer(value);
    return dropped_[value] && made_in_[op] != segment && graph_.recomputable(op) &&
           graph_.region(op) == graph_.segment_region(segment);
  }

  // An op stays on the stack until all its inputs are there.
  void make_inputs(OpId root, SegmentId segment) {
    stack_.assign(1, root);
    while (!stack_.empty()) {
      const OpId op = stack_.back();
      const std::size_t before = stack_.size();
      for (ValueId v : graph_.inputs(op)) {
        if (missing(v, segment)) stack_.push_back(graph_.producer(v));
      }
      if (stack_.size() > before) continue;
      stack_.pop_back();
      if (op != root && made_in_[op] != segment) run(op, segment);
    }
  }

  const Graph& graph_;
  const std::vector<char>& dropped_;
  std::vector<SegmentId> made_in_;  // by op: the segment of its latest run
  std::vector<OpId> stack_;
  Order order_;
};

}  // namespace

Order just_in_time(const Graph& graph, const std::vector<char>& dropped) {
  return Builder(graph, dropped).build();
}

}  // namespace fastsa
