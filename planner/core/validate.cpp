#include "core/validate.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>
#include <vector>

namespace fastsa {
namespace {

constexpr double kTolerance = 1e-9;  // of the step time: sums of doubles in another order

Verdict check_segments(const Graph& graph, const Order& order) {
  const auto& starts = order.segment_starts;
  if (starts.size() != static_cast<std::size_t>(graph.segments())) {
    return {Reason::kSegmentCount, static_cast<Position>(starts.size())};
  }
  Position before = 0;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const bool in_order = i == 0 ? starts[i] == 0 : starts[i] >= before;
    if (!in_order || starts[i] > static_cast<Position>(order.sequence.size())) {
      return {Reason::kSegmentStarts, static_cast<Position>(i)};
    }
    before = starts[i];
  }
  if (starts.empty() && !order.sequence.empty()) return {Reason::kSegmentCount, 0};
  return {};
}

Reason check_run(const Graph& graph, OpId op, SegmentId segment, bool again) {
  if (again && !graph.recomputable(op)) return Reason::kNotRecomputable;
  if (again && graph.segment_region(segment) != graph.region(op)) {
    return Reason::kRecomputedElsewhere;
  }
  if (!again && segment != graph.segment(op)) return Reason::kFirstRunSegment;
  return Reason::kNone;
}

// Walks forward once: who ran, in which segment, with which inputs there.
Verdict check_order(const Graph& graph, const Order& order) {
  std::vector<char> ran(static_cast<std::size_t>(graph.ops()), 0);
  SegmentId segment = 0;
  const auto& starts = order.segment_starts;
  for (Position k = 0; k < static_cast<Position>(order.sequence.size()); ++k) {
    while (segment + 1 < graph.segments() && starts[segment + 1] <= k) ++segment;
    const OpId op = order.sequence[k];
    if (op < 0 || op >= graph.ops()) return {Reason::kUnknownOp, k};
    for (ValueId value : graph.inputs(op)) {
      if (!ran[graph.producer(value)]) return {Reason::kInputMissing, k};
    }
    const Reason reason = check_run(graph, op, segment, ran[op] != 0);
    if (reason != Reason::kNone) return {reason, k};
    ran[op] = 1;
  }
  const auto missing = std::ranges::find(ran, 0);
  if (missing != ran.end())
    return {Reason::kNeverRuns, static_cast<Position>(missing - ran.begin())};
  return {};
}

// Walks backward once: a value is wanted from its last use back to its production.
Bytes peak_of(const Graph& graph, std::span<const OpId> sequence) {
  std::vector<char> wanted(static_cast<std::size_t>(graph.values()), 0);
  Bytes alive = 0;
  const auto want = [&](ValueId value) {
    if (!wanted[value]) alive += graph.bytes(value);
    wanted[value] = 1;
  };
  for (ValueId value = 0; value < graph.values(); ++value) {
    if (graph.is_output(value)) want(value);
  }
  Bytes peak = 0;
  for (std::size_t k = sequence.size(); k-- > 0;) {
    const OpId op = sequence[k];
    for (ValueId value : graph.inputs(op)) want(value);
    for (ValueId value : graph.outputs(op)) want(value);
    peak = std::max(peak, alive + graph.workspace(op));
    for (ValueId value : graph.outputs(op)) {
      alive -= graph.bytes(value);
      wanted[value] = 0;
    }
  }
  return peak;
}

Seconds seconds_of(const Graph& graph, std::span<const OpId> sequence) {
  Seconds total = 0;
  for (OpId op : sequence) total += graph.seconds(op);
  return total;
}

bool differ(Seconds a, Seconds b, Seconds scale) {
  return !(std::abs(a - b) <= kTolerance * scale);  // written so that NaN differs
}

Verdict check_base(const Graph& graph, const Claim& claim) {
  std::vector<OpId> listed(static_cast<std::size_t>(graph.ops()));
  for (OpId op = 0; op < graph.ops(); ++op) listed[op] = op;
  const Seconds seconds = seconds_of(graph, listed);
  if (claim.base_peak != peak_of(graph, listed)) return {Reason::kWrongBasePeak};
  if (differ(claim.base_seconds, seconds, seconds)) return {Reason::kWrongBaseSeconds};
  return {};
}

Verdict check_status(const Claim& claim) {
  const Seconds slack = kTolerance * claim.base_seconds;
  const Seconds extra = claim.seconds - claim.base_seconds;
  const bool fits = claim.peak <= claim.budget;
  if (claim.status == Status::kNotFound) return {fits ? Reason::kWithinBudget : Reason::kNone};
  if (!fits) return {Reason::kOverBudget};
  if (claim.budget < claim.minimum_budget) return {Reason::kBelowMinimum};
  if (!(claim.lower_bound <= extra + slack)) return {Reason::kBoundAboveTime};
  if (claim.status == Status::kOptimal && !(extra <= claim.lower_bound + slack)) {
    return {Reason::kNotOptimal};
  }
  return {};
}

Verdict check_infeasible(const Order& order, const Claim& claim) {
  if (!order.sequence.empty()) return {Reason::kNotInfeasible, 0};
  if (claim.budget >= claim.minimum_budget) return {Reason::kNotInfeasible};
  if (claim.peak != 0) return {Reason::kWrongPeak};
  if (claim.seconds != 0) return {Reason::kWrongSeconds};
  return {};
}

Verdict check_claims(const Graph& graph, const Order& order, const Claim& claim) {
  const Seconds seconds = seconds_of(graph, order.sequence);
  if (claim.peak != peak_of(graph, order.sequence)) return {Reason::kWrongPeak};
  if (differ(claim.seconds, seconds, seconds)) return {Reason::kWrongSeconds};
  return check_status(claim);
}

struct Words {
  const char* name;
  const char* sentence;
};

// In the order of Reason.
constexpr Words kWords[] = {
    {"none", "the plan is what it claims to be"},
    {"unknown_op", "there is no such op"},
    {"segment_count", "there is not one start per segment"},
    {"segment_starts", "a segment starts out of order or past the end"},
    {"input_missing", "an input of the op was not produced before"},
    {"first_run_segment", "the op's first run is outside its own segment"},
    {"not_recomputable", "the op may not run twice"},
    {"recomputed_elsewhere", "the op is recomputed in a segment of another region"},
    {"never_runs", "the op never runs"},
    {"wrong_peak", "the peak is not what the plan claims"},
    {"wrong_seconds", "the time is not what the plan claims"},
    {"wrong_base_peak", "the unplanned peak is not what the plan claims"},
    {"wrong_base_seconds", "the unplanned time is not what the plan claims"},
    {"over_budget", "the plan claims to be within its budget and is not"},
    {"within_budget", "the plan claims to miss its budget and does not"},
    {"not_optimal", "the plan claims to meet its lower bound and does not"},
    {"bound_above_time", "the lower bound is above the extra time it bounds"},
    {"not_infeasible", "the plan claims that its budget cannot be met and does not show it"},
    {"below_minimum", "the plan is within a budget it claims cannot be met"},
};

static_assert(std::size(kWords) == static_cast<std::size_t>(Reason::kBelowMinimum) + 1);

}  // namespace

const char* name(Reason reason) { return kWords[static_cast<std::size_t>(reason)].name; }

const char* describe(Reason reason) { return kWords[static_cast<std::size_t>(reason)].sentence; }

Verdict validate(const Graph& graph, const Order& order) {
  const Verdict verdict = check_segments(graph, order);
  return verdict.ok() ? check_order(graph, order) : verdict;
}

Verdict validate(const Graph& graph, const Order& order, const Claim& claim) {
  Verdict verdict = check_segments(graph, order);
  if (verdict.ok()) verdict = check_base(graph, claim);
  if (!verdict.ok()) return verdict;
  if (claim.status == Status::kInfeasible) return check_infeasible(order, claim);
  verdict = check_order(graph, order);
  if (verdict.ok()) verdict = check_claims(graph, order, claim);
  return verdict;
}

}  // namespace fastsa
