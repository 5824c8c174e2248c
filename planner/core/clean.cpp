#include "core/clean.h"

#include <algorithm>

#include "core/schedule.h"

namespace fastsa {
namespace {

std::vector<Slot> removable_dearest_first(const Schedule& schedule) {
  std::vector<Slot> slots;
  for (OpId op : schedule.repeated()) {
    for (Slot slot : schedule.runs(op)) slots.push_back(slot);
  }
  const auto dearer = [&](Slot a, Slot b) {
    const Seconds first = schedule.graph().seconds(schedule.at(a));
    const Seconds second = schedule.graph().seconds(schedule.at(b));
    return first != second ? first > second : a < b;
  };
  std::ranges::sort(slots, dearer);
  return slots;
}

}  // namespace

void clean(Incumbent& best, const Stop& stop) {
  if (stop.now()) return;  // loading a schedule alone takes a while on a huge graph
  Schedule schedule(best.graph(), best.order(), 2);
  const Bytes limit = std::max(best.budget(), best.footprint().peak);
  bool changed = true;
  while (changed && !stop.now()) {
    changed = false;
    for (Slot slot : removable_dearest_first(schedule)) {
      if (stop.now()) break;
      if (!schedule.can_remove(slot)) continue;
      schedule.remove(slot);
      if (schedule.peak() > limit) {
        schedule.rollback();
      } else {
        schedule.commit();
        changed = true;
      }
    }
  }
  best.offer(schedule.order());
}

}  // namespace fastsa
