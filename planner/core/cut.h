// What must be recomputed after a moment, whatever the schedule: a minimum cut under a price on
// bytes.
//
// When an op first runs, its ancestors and all earlier segments have run and its descendants have
// not. What these still need, and what is to be there at the end, is alive at that moment, within
// the budget, or is made again later, and then so is what making it needs. An op that may run
// before or after that moment runs after it at no extra time, but then needs its inputs; if it runs
// after it while one that needs it ran before, it runs twice. Nothing else is assumed of the order.
#pragma once

#include <optional>
#include <vector>

#include "core/graph.h"
#include "core/max_flow.h"

namespace fastsa {

struct Cut {
  Seconds bound = 0;          // no legal plan within the budget takes less extra time
  Seconds recomputed = 0;     // by this cut's choice
  Bytes kept = 0;             // likewise, beside what the op at the moment touches
  std::vector<char> dropped;  // by value: needed later, not kept
  std::vector<char> later;    // by op: runs after the moment, again or for the first time
  bool complete = false;      // false: it was stopped
};

enum class When : char { kBefore, kUnknown, kAfter };

struct Moment {
  OpId op = kNoOp;
  bool running = true;     // false: just before the op, nothing of it is there
  std::vector<When> when;  // by op: when it has its only run, or one that something before needs
  std::vector<char> gone;  // by value: cannot be kept; empty: all can

  // When `op` first runs in any legal order.
  static Moment first_run(const Graph& graph, OpId op);
  // When the segment of `op`, its first, starts.
  static Moment start(const Graph& graph, OpId op);
};

class CutAt {
 public:
  CutAt(const Graph& graph, Moment moment, Bytes budget);

  Bytes room() const { return room_; }
  // What is needed later, all of it.
  Bytes wanted() const { return wanted_; }
  // The region of all ops whose time the bound may count, if there is one.
  std::optional<RegionId> region() const { return several_ ? std::nullopt : region_; }
  // `price`: seconds per byte kept.
  Cut solve(double price, const Stop& stop);

 private:
  void touch(OpId op);
  void need(ValueId value);
  void connect();
  void connect_producer(ValueId value);
  void connect_dependents(OpId op);
  bool may_run_again(OpId op) const;
  void charge(OpId op, Node from, Node to);
  Capacity keeping(ValueId value, double per_byte) const;

  const Graph& graph_;
  Moment moment_;
  Bytes room_;
  Bytes wanted_ = 0;
  Seconds scale_;
  std::optional<RegionId> region_;
  bool several_ = false;
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

// The price at which the bound is highest. The bound is concave in the price, made of straight
// pieces, one per cut: where the piece that keeps too much crosses the one that keeps little enough
// is the next price to try.
class PriceSearch {
 public:
  PriceSearch(double first, Bytes room) : price_(first), room_(room) {}

  double price() const { return price_; }
  bool done() const { return done_; }
  void take(Cut cut);
  // The dearest cut that keeps no more than there is room for.
  std::optional<Cut>& fitting() { return little_; }

 private:
  double next() const;

  double price_;
  Bytes room_;
  bool done_ = false;
  std::optional<Cut> much_;
  std::optional<Cut> little_;
};

}  // namespace fastsa
