#include "core/schedule.h"

#include <algorithm>
#include <bit>

namespace fastsa {
namespace {

void insert_sorted(std::vector<Slot>& slots, Slot slot) {
  slots.insert(std::ranges::upper_bound(slots, slot), slot);
}

void erase_sorted(std::vector<Slot>& slots, Slot slot) {
  slots.erase(std::ranges::lower_bound(slots, slot));
}

}  // namespace

Schedule::Schedule(const Graph& graph, const Order& order, Slot roominess)
    : graph_(graph), roominess_(roominess) {
  load(order);
}

void Schedule::load(const Order& order) {
  runs_.resize(static_cast<std::size_t>(graph_.ops()));
  uses_.resize(static_cast<std::size_t>(graph_.values()));
  for (auto& runs : runs_) runs.clear();
  for (auto& uses : uses_) uses.clear();
  occupied_.clear();
  repeated_.clear();
  repeated_place_.assign(static_cast<std::size_t>(graph_.ops()), -1);
  journal_.clear();
  spread(order);
  tree_ = PeakTree(weigh());
}

// Op k of the order goes to the end of the k-th of equal cells, so that there is room before it.
void Schedule::spread(const Order& order) {
  const auto length = static_cast<Slot>(order.sequence.size());
  const auto slots = static_cast<Slot>(std::bit_ceil(
      static_cast<std::size_t>(std::max<Slot>(length, 1)) * static_cast<std::size_t>(roominess_)));
  const Slot cell = slots / std::max<Slot>(length, 1);
  timeline_.assign(static_cast<std::size_t>(slots), kNoOp);
  place_.assign(static_cast<std::size_t>(slots), -1);
  segment_begin_.clear();
  for (Position start : order.segment_starts) segment_begin_.push_back(start * cell);
  for (SegmentId s = graph_.segments(); s-- > 0 && order.segment_starts[s] == length;) {
    segment_begin_[s] =
        slots;  // nothing runs there: what is left over belongs to the last that does
  }
  seconds_ = 0;
  for (Position k = 0; k < length; ++k) {
    const OpId op = order.sequence[k];
    const Slot slot = k * cell + cell - 1;
    runs_[op].push_back(slot);
    for (ValueId v : graph_.inputs(op)) uses_[v].push_back(slot);
    occupy(op, slot);
    seconds_ += graph_.seconds(op);
  }
}

std::vector<Bytes> Schedule::weigh() const {
  std::vector<Bytes> change(timeline_.size() + 1, 0);
  for (Slot slot : occupied_) weigh_run(timeline_[slot], slot, change);
  Bytes alive = 0;
  for (Bytes& bytes : change) bytes = alive += bytes;
  change.pop_back();
  return change;
}

void Schedule::weigh_run(OpId op, Slot slot, std::vector<Bytes>& change) const {
  change[slot] += graph_.workspace(op);
  change[slot + 1] -= graph_.workspace(op);
  const Slot next = first_run_after(op, slot);
  for (ValueId v : graph_.outputs(op)) {
    change[slot] += graph_.bytes(v);
    change[dies(v, slot, next) + 1] -= graph_.bytes(v);
  }
}

Order Schedule::order() const {
  Order order;
  order.sequence.reserve(occupied_.size());
  order.segment_starts.reserve(segment_begin_.size());
  std::size_t segment = 0;
  const auto start_segments = [&](Slot slot) {
    for (; segment < segment_begin_.size() && segment_begin_[segment] <= slot; ++segment) {
      order.segment_starts.push_back(static_cast<Position>(order.sequence.size()));
    }
  };
  for (Slot slot = 0; slot < slots(); ++slot) {
    if (timeline_[slot] == kNoOp) continue;
    start_segments(slot);
    order.sequence.push_back(timeline_[slot]);
  }
  start_segments(slots());
  return order;
}

Slot Schedule::last_run_before(OpId op, Slot slot) const {
  const auto& runs = runs_[op];
  for (std::size_t i = runs.size(); i-- > 0;) {
    if (runs[i] < slot) return runs[i];
  }
  return kNever;
}

// The end of the timeline if there is none.
Slot Schedule::first_run_after(OpId op, Slot slot) const {
  for (Slot run : runs_[op]) {
    if (run > slot) return run;
  }
  return slots();
}

Slot Schedule::dies(ValueId value, Slot born, Slot next) const {
  if (next == slots() && graph_.is_output(value)) return slots() - 1;
  const auto& uses = uses_[value];
  const auto after = next == slots() ? uses.end() : std::ranges::lower_bound(uses, next);
  return after == uses.begin() ? born : std::max(born, *(after - 1));
}

bool Schedule::used_between(ValueId value, Slot after, Slot before) const {
  const auto& uses = uses_[value];
  const auto use = std::ranges::upper_bound(uses, after);
  return use != uses.end() && *use < before;
}

Schedule::Instance Schedule::instance(ValueId value, Slot slot) const {
  const OpId op = graph_.producer(value);
  const Slot born = last_run_before(op, slot + 1);
  if (born == kNever) return {kNever, kNever};
  return {born, dies(value, born, first_run_after(op, slot))};
}

bool Schedule::useless(Slot slot) const {
  const OpId op = timeline_[slot];
  const Slot next = first_run_after(op, slot);
  return std::ranges::all_of(graph_.outputs(op), [&](ValueId v) {
    const bool kept = graph_.is_output(v) && next == slots();
    return !kept && !used_between(v, slot, next);
  });
}

SegmentId Schedule::segment_at(Slot slot) const {
  const auto after = std::ranges::upper_bound(segment_begin_, slot);
  return static_cast<SegmentId>(after - segment_begin_.begin()) - 1;
}

bool Schedule::may_run_at(OpId op, Slot slot, bool again) const {
  const SegmentId segment = segment_at(slot);
  return segment == graph_.segment(op) ||
         (again && graph_.segment_region(segment) == graph_.region(op));
}

bool Schedule::can_add(OpId op, Slot slot) const {
  if (timeline_[slot] != kNoOp || !graph_.recomputable(op)) return false;
  if (!may_run_at(op, slot, runs_[op].front() < slot)) return false;
  return std::ranges::all_of(graph_.inputs(op),
                             [&](ValueId v) { return runs_[graph_.producer(v)].front() < slot; });
}

bool Schedule::can_remove(Slot slot) const {
  const OpId op = timeline_[slot];
  if (op == kNoOp || runs_[op].size() < 2) return false;
  if (runs_[op].front() != slot) return true;
  const Slot second = runs_[op][1];
  return may_run_at(op, second, false) && std::ranges::none_of(graph_.outputs(op), [&](ValueId v) {
           return used_between(v, slot, second);
         });
}

bool Schedule::can_move(Slot from, Slot to) const {
  const OpId op = timeline_[from];
  if (op == kNoOp || timeline_[to] != kNoOp) return false;
  const auto& runs = runs_[op];
  Slot first = to;
  if (runs.front() != from) first = std::min(first, runs.front());
  if (runs.front() == from && runs.size() > 1) first = std::min(first, runs[1]);
  if (!may_run_at(op, first, false) || !may_run_at(op, to, first != to)) return false;
  const bool inputs_there = std::ranges::all_of(
      graph_.inputs(op), [&](ValueId v) { return runs_[graph_.producer(v)].front() < to; });
  return inputs_there && std::ranges::all_of(graph_.outputs(op), [&](ValueId v) {
           return uses_[v].empty() || uses_[v].front() > first;
         });
}

void Schedule::add(OpId op, Slot slot) {
  journal_.push_back({op, slot, true, seconds_});
  insert(op, slot);
}

void Schedule::remove(Slot slot) {
  const OpId op = timeline_[slot];
  journal_.push_back({op, slot, false, seconds_});
  erase(op, slot);
}

void Schedule::move(Slot from, Slot to) {
  const OpId op = timeline_[from];
  const Seconds before = seconds_;
  remove(from);
  add(op, to);
  seconds_ = before;
}

void Schedule::rollback() {
  for (; !journal_.empty(); journal_.pop_back()) {
    const Change& change = journal_.back();
    if (change.added) {
      erase(change.op, change.slot);
    } else {
      insert(change.op, change.slot);
    }
    seconds_ = change.seconds_before;
  }
}

// Midway through a move an op may have no run and its outputs' uses no production: such uses weigh
// nothing until the production is back.
void Schedule::insert(OpId op, Slot slot) {
  const Slot previous = last_run_before(op, slot);
  const Slot next = first_run_after(op, slot);
  for (ValueId v : graph_.outputs(op)) output_changed(v, slot, previous, next, graph_.bytes(v));
  for (ValueId v : graph_.inputs(op)) {
    input_changed(v, slot, graph_.bytes(v));
    insert_sorted(uses_[v], slot);
  }
  if (graph_.workspace(op) != 0) tree_.add(slot, slot, graph_.workspace(op));
  insert_sorted(runs_[op], slot);
  if (runs_[op].size() == 2) set_repeated(op, true);
  occupy(op, slot);
  seconds_ += graph_.seconds(op);
}

void Schedule::erase(OpId op, Slot slot) {
  vacate(slot);
  erase_sorted(runs_[op], slot);
  if (runs_[op].size() == 1) set_repeated(op, false);
  const Slot previous = last_run_before(op, slot);
  const Slot next = first_run_after(op, slot);
  for (ValueId v : graph_.outputs(op)) output_changed(v, slot, previous, next, -graph_.bytes(v));
  for (ValueId v : graph_.inputs(op)) {
    erase_sorted(uses_[v], slot);
    input_changed(v, slot, -graph_.bytes(v));
  }
  if (graph_.workspace(op) != 0) tree_.add(slot, slot, -graph_.workspace(op));
  seconds_ -= graph_.seconds(op);
}

// A production at `slot` comes (bytes > 0) or goes (bytes < 0) between two others.
void Schedule::output_changed(ValueId value, Slot slot, Slot previous, Slot next, Bytes bytes) {
  if (bytes == 0) return;
  const Slot end = dies(value, slot, next);
  const bool to_the_end = graph_.is_output(value) && next == slots();
  if (previous == kNever) {
    tree_.add(slot, end, bytes);
  } else if (end == slot && !to_the_end) {
    tree_.add(slot, slot, bytes);
  } else {  // it serves what the previous production has to live on for without it
    const Slot before = dies(value, previous, slot);
    if (before + 1 <= slot - 1) tree_.add(before + 1, slot - 1, -bytes);
  }
}

// A use at `slot`, not listed now, comes (bytes > 0) or goes (bytes < 0).
void Schedule::input_changed(ValueId value, Slot slot, Bytes bytes) {
  if (bytes == 0) return;
  const OpId op = graph_.producer(value);
  const Slot born = last_run_before(op, slot);
  if (born == kNever) return;
  const Slot end = dies(value, born, first_run_after(op, slot));
  if (slot > end) tree_.add(end + 1, slot, bytes);
}

void Schedule::occupy(OpId op, Slot slot) {
  timeline_[slot] = op;
  place_[slot] = static_cast<std::int32_t>(occupied_.size());
  occupied_.push_back(slot);
  if (runs_[op].size() > 1) set_repeated(op, true);
}

void Schedule::vacate(Slot slot) {
  timeline_[slot] = kNoOp;
  const Slot last = occupied_.back();
  occupied_[place_[slot]] = last;
  place_[last] = place_[slot];
  occupied_.pop_back();
}

void Schedule::set_repeated(OpId op, bool repeated) {
  const bool listed = repeated_place_[op] >= 0;
  if (repeated == listed) return;
  if (repeated) {
    repeated_place_[op] = static_cast<std::int32_t>(repeated_.size());
    repeated_.push_back(op);
    return;
  }
  const OpId last = repeated_.back();
  repeated_[repeated_place_[op]] = last;
  repeated_place_[last] = repeated_place_[op];
  repeated_.pop_back();
  repeated_place_[op] = -1;
}

}  // namespace fastsa
