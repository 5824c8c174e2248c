#include "core/published_moves.h"

namespace fastsa {
namespace {

Slot any_occupied(const Schedule& schedule, Random& random) {
  const auto occupied = schedule.occupied();
  return occupied[random.below(static_cast<std::int64_t>(occupied.size()))];
}

}  // namespace

void PublishedMoves::propose(Schedule& schedule, Random& random, Seconds slowest) {
  const std::int32_t kind = random.below(3);
  if (kind == 0) {
    const OpId op = random.below(schedule.graph().ops());
    const Slot slot = random.below(schedule.slots());
    if (schedule.seconds() + schedule.graph().seconds(op) > slowest) return;
    if (schedule.can_add(op, slot)) schedule.add(op, slot);
  } else if (kind == 1) {
    const Slot slot = any_occupied(schedule, random);
    if (schedule.can_remove(slot)) schedule.remove(slot);
  } else {
    const Slot from = any_occupied(schedule, random);
    const Slot to = random.below(schedule.slots());
    if (schedule.can_move(from, to)) schedule.move(from, to);
  }
}

}  // namespace fastsa
