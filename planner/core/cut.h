// What must be recomputed after a moment, whatever the schedule: a minimum cut under a price on
// bytes.
//
// When an op first runs, its ancestors and all earlier segments have run and its descendants have
// not. What these still need, and what is to be there at the end, is alive at that moment, within
// the budget, or is made again later, and then so is what making it needs. An op that may run
// before or after that moment runs after it at no extra time, but then needs its inputs; if it runs
// after it while one that needs it ran before, it runs twice. Nothing else is assumed of the order.
#pragma once

#include <vector>

#include "core/graph.h"
#include "core/max_flow.h"

namespace fastsa {

struct Cut {
  Seconds bound = 0;          // no legal plan within the budget takes less extra time
  Seconds recomputed = 0;     // by this cut's choice
  Bytes kept = 0;             // likewise, beside what the op at the moment touches
  std::vector<char> dropped;  // by value: needed later, not kept
  bool complete = false;      // false: it was stopped
};

class CutAt {
 public:
  // The moment at which `op` first runs; with `op_itself` false, the start of its segment.
  CutAt(const Graph& graph, OpId op, bool op_itself, Bytes budget);

  Bytes room() const { return room_; }
  // What is needed later, all of it.
  Bytes wanted() const { return wanted_; }
  // `price`: seconds per byte kept.
  Cut solve(double price, const Stop& stop);

 private:
  enum class When : char { kBefore, kUnknown, kAfter };

  void classify(OpId op, bool op_itself);
  void need(ValueId value);
  void connect();
  void connect_producer(ValueId value);
  void connect_dependents(OpId op);
  bool may_run_again(OpId op) const;
  Capacity cost_again(OpId op) const;

  const Graph& graph_;
  SegmentId segment_;
  Bytes room_;
  Bytes wanted_ = 0;
  Seconds scale_;
  std::vector<When> when_;   // by op
  std::vector<char> there_;  // by value: touched by the op at the moment
  std::vector<Node> value_node_;
  std::vector<Node> op_node_;
  std::vector<ValueId> values_;  // with a node, in order of discovery
  struct Priced {
    Edge edge;
    ValueId value;
  };
  std::vector<Priced> priced_;
  MaxFlow flow_;
};

}  // namespace fastsa
