// What a plan claims to be.
#pragma once

namespace fastsa {

enum class Status {
  kOptimal,     // the extra time equals the lower bound
  kFeasible,    // legal and within the budget
  kNotFound,    // legal, above the budget: nothing better was found in the time given
  kInfeasible,  // the budget is below the proven minimum; the sequence is empty
};

}  // namespace fastsa
