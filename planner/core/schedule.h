// The annealer's state, as published: a timeline of slots, each an op or nothing. Lifetimes follow
// from where values are produced and used; a tree over the slots knows the peak.
//
// The timeline is compact (a few times the sequence's length) so that the tree stays in the cache;
// loading an order spreads it evenly again.
#pragma once

#include <span>
#include <vector>

#include "core/graph.h"
#include "core/peak_tree.h"

namespace fastsa {

class Schedule {
 public:
  // `roominess`: slots per op of the order, at least.
  Schedule(const Graph& graph, const Order& order, Slot roominess);

  void load(const Order& order);
  Order order() const;

  const Graph& graph() const { return graph_; }
  Slot slots() const { return static_cast<Slot>(timeline_.size()); }
  OpId at(Slot slot) const { return timeline_[slot]; }
  std::span<const Slot> runs(OpId op) const { return runs_[op]; }
  std::span<const Slot> uses(ValueId value) const { return uses_[value]; }
  // Every occupied slot, in no order; and the ops that run more than once, in no order.
  std::span<const Slot> occupied() const { return occupied_; }
  std::span<const OpId> repeated() const { return repeated_; }

  Bytes peak() const { return tree_.max(); }
  Slot peak_slot() const { return tree_.argmax(); }
  Seconds seconds() const { return seconds_; }

  // An instance of `value`: from the last production at or before `slot` to its last use.
  struct Instance {
    Slot born;  // -1: not produced by then
    Slot dies;
  };
  Instance instance(ValueId value, Slot slot) const;
  // Whether no output of the run at `slot` is ever used from it.
  bool useless(Slot slot) const;

  bool can_add(OpId op, Slot slot) const;
  bool can_remove(Slot slot) const;
  bool can_move(Slot from, Slot to) const;

  // These expect the move to be legal. Each is remembered until commit or rollback.
  void add(OpId op, Slot slot);
  void remove(Slot slot);
  void move(Slot from, Slot to);

  void commit() { journal_.clear(); }
  void rollback();
  bool changed() const { return !journal_.empty(); }
  std::size_t changes() const { return journal_.size(); }

 private:
  struct Change {
    OpId op;
    Slot slot;
    bool added;
    Seconds seconds_before;
  };

  static constexpr Slot kNever = -1;

  void spread(const Order& order);
  std::vector<Bytes> weigh() const;
  void weigh_run(OpId op, Slot slot, std::vector<Bytes>& change) const;

  SegmentId segment_at(Slot slot) const;
  bool may_run_at(OpId op, Slot slot, bool again) const;
  Slot last_run_before(OpId op, Slot slot) const;
  Slot first_run_after(OpId op, Slot slot) const;
  Slot dies(ValueId value, Slot born, Slot next) const;
  bool used_between(ValueId value, Slot after, Slot before) const;

  void insert(OpId op, Slot slot);
  void erase(OpId op, Slot slot);
  void output_changed(ValueId value, Slot slot, Slot previous, Slot next, Bytes bytes);
  void input_changed(ValueId value, Slot slot, Bytes bytes);
  void occupy(OpId op, Slot slot);
  void vacate(Slot slot);
  void set_repeated(OpId op, bool repeated);

  const Graph& graph_;
  Slot roominess_;
  std::vector<OpId> timeline_;
  std::vector<Slot> segment_begin_;  // half-open ranges of slots, the last ends with the timeline
  std::vector<std::vector<Slot>> runs_;
  std::vector<std::vector<Slot>> uses_;
  std::vector<Slot> occupied_;
  std::vector<std::int32_t> place_;  // by slot: index in occupied_
  std::vector<OpId> repeated_;
  std::vector<std::int32_t> repeated_place_;  // by op: index in repeated_, or -1
  std::vector<Change> journal_;
  PeakTree tree_{{}};
  Seconds seconds_ = 0;
};

}  // namespace fastsa
