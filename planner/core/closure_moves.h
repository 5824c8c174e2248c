// Moves that drop or keep whole chains at once: recomputing an op late asks for its inputs, which
// may be gone by then; recomputing those too, as one move, is what single-op moves cannot reach.
#pragma once

#include "core/alias_table.h"
#include "core/proposer.h"

namespace fastsa {

class ClosureMoves : public Proposer {
 public:
  ClosureMoves(const Graph& graph, Bytes budget);

  void propose(Schedule& schedule, Random& random, Seconds slowest) override;

 private:
  // A value to be there at `use`, a slot that reads it, without living at `pivot` before.
  struct Wish {
    ValueId value;
    Slot use;
  };

  bool drop_at(Slot pivot);
  bool drop_anywhere();
  Slot use_from(ValueId value, Slot slot);
  bool recompute(Wish root, Slot pivot);
  Slot recompute_before(OpId op, Slot use);
  void wish_for_inputs(OpId op, Slot slot, Slot pivot, Bytes size);
  bool wants_recompute(ValueId input, Slot slot, Slot pivot, Bytes size);

  bool keep_one();
  void remove_with_inputs(Slot slot);
  void exchange();
  void shift();

  Slot free_before(Slot slot, Slot after) const;

  const Graph& graph_;
  Bytes budget_;
  AliasTable droppable_;  // values that can be produced again, by bytes
  // Of the current proposal:
  Schedule* schedule_ = nullptr;
  Random* random_ = nullptr;
  Seconds slowest_ = 0;
  double depth_ = 0;  // how readily inputs are recomputed too
  std::vector<Wish> wishes_;
  std::vector<Slot> doomed_;
};

}  // namespace fastsa
