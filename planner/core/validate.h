// The independent check of a plan: shares no code with the solver, only the graph.
#pragma once

#include "core/graph.h"
#include "core/status.h"

namespace fastsa {

// What a plan says of itself.
struct Claim {
  Status status = Status::kFeasible;
  Bytes budget = 0;
  Bytes peak = 0;
  Seconds seconds = 0;
  Bytes base_peak = 0;
  Seconds base_seconds = 0;
  Seconds lower_bound = 0;
  Bytes minimum_budget = 0;
};

enum class Reason {
  kNone,                 // the plan is what it claims to be
  kUnknownOp,            // an id that is no op
  kSegmentCount,         // not one start per segment
  kSegmentStarts,        // the first start is not 0, or starts decrease or pass the end
  kInputMissing,         // an input was not produced before
  kFirstRunSegment,      // an op's first run is outside its own segment
  kNotRecomputable,      // an op that may run only once runs again
  kRecomputedElsewhere,  // a recomputation in a segment of another region
  kNeverRuns,            // an op is missing
  kWrongPeak,
  kWrongSeconds,
  kWrongBasePeak,
  kWrongBaseSeconds,
  kOverBudget,      // claims to be within the budget and is not
  kWithinBudget,    // claims not to be within the budget and is
  kNotOptimal,      // claims to meet the lower bound and does not
  kBoundAboveTime,  // the lower bound is above the extra time it bounds
  kNotInfeasible,   // claims infeasibility with a sequence, or a budget at or above the minimum
  kBelowMinimum,    // within a budget below the minimum it says is proven
};

const char* name(Reason reason);      // one word, for programs
const char* describe(Reason reason);  // a sentence, for people

struct Verdict {
  Reason reason = Reason::kNone;
  Position position = -1;  // in the sequence, or of the segment or op at fault; -1: of the whole

  bool ok() const { return reason == Reason::kNone; }
};

// Whether the order alone is legal, whatever it weighs.
[[nodiscard]] Verdict validate(const Graph& graph, const Order& order);

[[nodiscard]] Verdict validate(const Graph& graph, const Order& order, const Claim& claim);

}  // namespace fastsa
