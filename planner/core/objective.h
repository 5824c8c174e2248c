// What the annealer lowers, in either form. Never below the schedule's seconds: a schedule slower
// than a value is not worth it, whatever its peak.
#pragma once

#include <algorithm>

#include "core/types.h"

namespace fastsa {

class Objective {
 public:
  // As published: max(budget, peak) * seconds, here divided by the budget.
  static Objective product(Bytes budget) {
    return {budget, 1.0 / static_cast<double>(std::max<Bytes>(budget, 1)), true};
  }
  // seconds + price * (bytes above the budget).
  static Objective penalty(Bytes budget, double price) { return {budget, price, false}; }

  double value(Seconds seconds, Bytes peak) const {
    const auto above = static_cast<double>(std::max<Bytes>(peak - budget_, 0)) * price_;
    return product_ ? seconds * (1.0 + above) : seconds + above;
  }

  Bytes budget() const { return budget_; }

 private:
  Objective(Bytes budget, double price, bool product)
      : budget_(budget), price_(price), product_(product) {}

  Bytes budget_;
  double price_;
  bool product_;
};

}  // namespace fastsa
