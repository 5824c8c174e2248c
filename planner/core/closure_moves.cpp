#include "core/closure_moves.h"

#include <algorithm>

namespace fastsa {
namespace {

constexpr std::size_t kLargestMove = 256;  // changes
constexpr int kDraws = 8;                  // values drawn in search of one that is alive
constexpr Slot kReach = 48;                // slots looked at for a free one
constexpr double kDepths[] = {0.3, 0.7, 0.95, 1.0};
constexpr Bytes kSmall = 16;  // an input this many times smaller is rather kept alive
constexpr double kDropSmall = 0.2;

AliasTable droppable_values(const Graph& graph) {
  std::vector<ValueId> values;
  std::vector<double> weights;
  for (ValueId v = 0; v < graph.values(); ++v) {
    const OpId op = graph.producer(v);
    if (op == kNoOp || !graph.recomputable(op) || graph.bytes(v) == 0) continue;
    if (graph.consumers(v).empty() && !graph.is_output(v)) continue;
    values.push_back(v);
    weights.push_back(static_cast<double>(graph.bytes(v)));
  }
  return {std::move(values), std::move(weights)};
}

// The last production or use of `value` before `slot`.
Slot last_touch(const Schedule& schedule, ValueId value, Slot slot) {
  const auto uses = schedule.uses(value);
  const auto use = std::ranges::lower_bound(uses, slot);
  const Slot born = schedule.instance(value, slot - 1).born;
  return use == uses.begin() ? born : std::max(born, *(use - 1));
}

}  // namespace

ClosureMoves::ClosureMoves(const Graph& graph, Bytes budget)
    : graph_(graph), budget_(budget), droppable_(droppable_values(graph)) {}

void ClosureMoves::propose(Schedule& schedule, Random& random, Seconds slowest) {
  schedule_ = &schedule;
  random_ = &random;
  slowest_ = slowest;
  const double kind = random.unit();
  if (schedule.peak() > budget_) {
    if (kind < 0.6) {
      drop_at(schedule.peak_slot());
    } else if (kind < 0.7) {
      drop_anywhere();
    } else if (kind < 0.85) {
      keep_one();
    } else {
      shift();
    }
  } else if (kind < 0.25) {
    keep_one();
  } else if (kind < 0.75) {
    exchange();
  } else {
    shift();
  }
}

// Drops a value that is alive at `pivot` and neither made nor read there.
bool ClosureMoves::drop_at(Slot pivot) {
  if (droppable_.empty()) return false;
  for (int draw = 0; draw < kDraws; ++draw) {
    const ValueId value = droppable_.draw(*random_);
    const auto instance = schedule_->instance(value, pivot);
    if (instance.born < 0 || instance.born == pivot || instance.dies <= pivot) continue;
    const Slot use = use_from(value, pivot);
    if (use == pivot) continue;
    return recompute({value, use}, pivot);
  }
  return false;
}

// The first use at `slot` or after; of an output that has none, some time before the end.
Slot ClosureMoves::use_from(ValueId value, Slot slot) {
  const auto uses = schedule_->uses(value);
  const auto use = std::ranges::lower_bound(uses, slot);
  if (use != uses.end()) return *use;
  return schedule_->slots() - random_->below(schedule_->slots() - slot);
}

bool ClosureMoves::drop_anywhere() {
  if (droppable_.empty()) return false;
  const ValueId value = droppable_.draw(*random_);
  const auto uses = schedule_->uses(value);
  if (uses.empty()) return false;
  const Slot use = uses[random_->below(static_cast<std::int64_t>(uses.size()))];
  const Slot before = last_touch(*schedule_, value, use);
  if (before < 0 || use - before < 2) return false;
  return recompute({value, use}, before + (use - before) / 2);
}

// Produces the wished value again just before its use, and what that needs. On false the schedule
// may be changed in part.
bool ClosureMoves::recompute(Wish root, Slot pivot) {
  depth_ = kDepths[random_->below(std::ssize(kDepths))];
  const Bytes size = graph_.bytes(root.value);
  wishes_.assign(1, root);
  while (!wishes_.empty()) {
    const Wish wish = wishes_.back();
    wishes_.pop_back();
    if (last_touch(*schedule_, wish.value, wish.use) >= pivot) continue;  // done for another wish
    const OpId op = graph_.producer(wish.value);
    if (schedule_->seconds() + graph_.seconds(op) > slowest_) return false;
    const Slot slot = recompute_before(op, wish.use);
    if (slot < 0) {
      if (wish.use == root.use && wish.value == root.value) return false;
      continue;  // then it lives on
    }
    if (schedule_->changes() > kLargestMove) return false;
    wish_for_inputs(op, slot, pivot, size);
  }
  return true;
}

Slot ClosureMoves::recompute_before(OpId op, Slot use) {
  const Slot slot = free_before(use, -1);
  if (slot < 0 || !schedule_->can_add(op, slot)) return -1;
  schedule_->add(op, slot);
  return slot;
}

void ClosureMoves::wish_for_inputs(OpId op, Slot slot, Slot pivot, Bytes size) {
  for (ValueId input : graph_.inputs(op)) {
    if (wants_recompute(input, slot, pivot, size)) wishes_.push_back({input, slot});
  }
}

bool ClosureMoves::wants_recompute(ValueId input, Slot slot, Slot pivot, Bytes size) {
  if (graph_.bytes(input) == 0 || !graph_.recomputable(graph_.producer(input))) return false;
  if (last_touch(*schedule_, input, slot) >= pivot) return false;
  const auto uses = schedule_->uses(input);
  const auto later = std::ranges::upper_bound(uses, slot);
  // Alive there anyway, for a use of the same instance further on.
  if (later != uses.end() && schedule_->instance(input, slot).dies > slot) return false;
  const bool small = graph_.bytes(input) <= size / kSmall;
  return random_->chance(small ? depth_ * kDropSmall : depth_);
}

// Takes one recomputation back: the value lives on instead.
bool ClosureMoves::keep_one() {
  const auto repeated = schedule_->repeated();
  if (repeated.empty()) return false;
  const OpId op = repeated[random_->below(std::ssize(repeated))];
  const auto runs = schedule_->runs(op);
  const Slot slot = runs[random_->below(std::ssize(runs))];
  if (!schedule_->can_remove(slot)) return false;
  remove_with_inputs(slot);
  return true;
}

// Removes a run, and the recomputations that only served it.
void ClosureMoves::remove_with_inputs(Slot slot) {
  doomed_.assign(1, slot);
  while (!doomed_.empty()) {
    const Slot run = doomed_.back();
    doomed_.pop_back();
    if (schedule_->at(run) == kNoOp) continue;
    const OpId op = schedule_->at(run);
    if (run != slot && !(schedule_->can_remove(run) && schedule_->useless(run))) continue;
    schedule_->remove(run);
    for (ValueId input : graph_.inputs(op)) {
      const OpId producer = graph_.producer(input);
      if (schedule_->runs(producer).size() < 2) continue;
      const Slot born = schedule_->instance(input, run).born;
      if (born >= 0) doomed_.push_back(born);
    }
  }
}

// Keeps one value more, and drops others where that breaks the budget.
void ClosureMoves::exchange() {
  if (!keep_one()) return;
  for (int tries = 0; tries < 3 && schedule_->peak() > budget_; ++tries) {
    if (!drop_at(schedule_->peak_slot())) return;
  }
}

// Runs one op earlier or later, between its inputs' productions and its outputs' first uses.
void ClosureMoves::shift() {
  Slot from = 0;
  const auto repeated = schedule_->repeated();
  if (!repeated.empty() && random_->chance(0.5)) {
    const auto runs = schedule_->runs(repeated[random_->below(std::ssize(repeated))]);
    from = runs[random_->below(std::ssize(runs))];
  } else {
    const auto occupied = schedule_->occupied();
    from = occupied[random_->below(std::ssize(occupied))];
  }
  const OpId op = schedule_->at(from);
  Slot first = -1;
  for (ValueId v : graph_.inputs(op)) first = std::max(first, schedule_->instance(v, from).born);
  Slot last = schedule_->slots();
  for (ValueId v : graph_.outputs(op)) {
    const auto uses = schedule_->uses(v);
    const auto use = std::ranges::upper_bound(uses, from);
    if (use != uses.end()) last = std::min(last, *use);
  }
  const Slot target = random_->chance(0.5) ? last : first + 2 + random_->below(last - first);
  const Slot to = free_before(std::min(target, last), first);
  if (to >= 0 && schedule_->can_move(from, to)) schedule_->move(from, to);
}

// The nearest free slot before `slot` and after `after`, or -1.
Slot ClosureMoves::free_before(Slot slot, Slot after) const {
  for (Slot s = slot - 1; s > after && s >= slot - kReach; --s) {
    if (schedule_->at(s) == kNoOp) return s;
  }
  return -1;
}

}  // namespace fastsa
