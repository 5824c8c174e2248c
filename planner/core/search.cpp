#include "core/search.h"

#include <algorithm>
#include <cmath>

#include "core/clean.h"
#include "core/closure_moves.h"
#include "core/grouping.h"
#include "core/published_moves.h"
#include "core/refit.h"

namespace fastsa {
namespace {

// Temperatures as published: from 0.1% of the objective down to 0.01% of that.
constexpr double kStartTemperature = 1e-3;
constexpr double kWarmTemperature = 6e-5;  // of a start that is good already
constexpr double kCoolingRatio = 1e-4;
constexpr std::int64_t kGroupedIterations = 20'000'000;
constexpr std::int64_t kUngroupedIterations = 2'000'000;
constexpr double kGroupedShare = 10.0 / 11;

constexpr Slot kRoominess = 4;
constexpr Slot kClosureRoominess = 8;

// Of the step time: a smaller gap to the bound is none.
constexpr double kRounding = 1e-10;

// Equal layers tie until noise of this share of an op's time tells them apart.
constexpr double kLeastNoise = 1e-3;
constexpr double kMostNoise = 0.3;
constexpr int kRefits = 100;
constexpr OpId kLargestRefit = 20'000;

// Going over the budget by all of the unplanned peak costs this many step times.
constexpr double kPricePerPeak = 4;

Effort at_most(Effort effort, std::int64_t iterations) {
  effort.iterations = std::min(effort.iterations, iterations);
  return effort;
}

void search_as_published(const Effort& effort, Chain& chain) {
  if (chain.stop.now()) return;
  const Graph& graph = chain.best.graph();
  const auto objective = Objective::product(chain.best.budget());
  const Grouping grouping = group(graph);
  Schedule grouped(grouping.graph, grouping.graph.base_order(), kRoominess);
  const double start = kStartTemperature * objective.value(grouped.seconds(), grouped.peak());
  PublishedMoves moves;
  const Cooling first{start, start * kCoolingRatio,
                      at_most(effort.share(kGroupedShare), kGroupedIterations), true};
  anneal(grouped, moves, objective, first, chain, false);
  if (chain.stop.now()) {
    chain.best.offer(grouping.expand(grouped.order()));
    return;
  }

  Schedule schedule(graph, grouping.expand(grouped.order()), kRoominess);
  const Cooling second{first.end, first.end * kCoolingRatio,
                       at_most(effort.share(1 - kGroupedShare), kUngroupedIterations)};
  anneal(schedule, moves, objective, second, chain);
}

Objective penalty(const Chain& chain) {
  const Graph& graph = chain.best.graph();
  const Footprint base = simulate(graph, graph.base_order().sequence);
  const double price = kPricePerPeak * base.seconds / static_cast<double>(base.peak);
  return Objective::penalty(chain.best.budget(), price);
}

void search_with_closures(const Order& from, double temperature, const Objective& objective,
                          const Effort& effort, Chain& chain) {
  if (chain.stop.now()) return;
  const Graph& graph = chain.best.graph();
  Schedule schedule(graph, from, kClosureRoominess);
  ClosureMoves moves(graph, chain.best.budget());
  const double start = temperature * graph.total_seconds();
  anneal(schedule, moves, objective, {start, start * kCoolingRatio, effort}, chain);
}

// A share of what is left of the time, or of all the iterations.
Effort part(const Effort& effort, double of_iterations, double of_time_left, const Chain& chain) {
  Effort part = effort.share(of_iterations);
  if (effort.seconds < kForever) part.seconds = chain.stop.left() * of_time_left;
  return part;
}

bool optimal(const Chain& chain, const Bound& bound) {
  const Seconds base = chain.best.graph().total_seconds();
  return chain.best.fits() &&
         chain.best.footprint().seconds - base <= bound.seconds + kRounding * base;
}

// Whether the best so far fits without recomputing: the unplanned order is the fastest there is.
bool nothing_to_gain(const Chain& chain) {
  const Seconds base = chain.best.graph().total_seconds();
  return chain.best.fits() && chain.best.footprint().seconds <= base * (1 + kRounding);
}

// Where to plan the unplanned order anew from: where segments start, and where it is the most.
std::vector<Position> refit_positions(const Graph& graph) {
  const Order base = graph.base_order();
  std::vector<Position> positions{simulate(graph, base.sequence).peak_position};
  for (Position start : base.segment_starts) {
    if (start > 0 && start < graph.ops()) positions.push_back(start);
  }
  std::ranges::sort(positions);
  positions.erase(std::ranges::unique(positions).begin(), positions.end());
  return positions;
}

// Offers what minimum cuts with noisy op times make of the unplanned order, as often as the effort
// allows.
void refit_base(const Cuts& cuts, const Effort& effort, Chain& chain) {
  const Graph& graph = chain.best.graph();
  if (graph.ops() > kLargestRefit || cuts.price <= 0) return;
  const auto begin = Clock::now();
  const Order base = graph.base_order();
  const std::vector<Position> positions = refit_positions(graph);
  for (int i = 0; i < kRefits && seconds_since(begin) < effort.seconds && !chain.stop.now(); ++i) {
    const Position from = positions[i % positions.size()];
    const double noise = kLeastNoise * std::pow(kMostNoise / kLeastNoise, chain.random.unit());
    const Seconds limit = (effort.seconds - seconds_since(begin)) / 2;
    Refit refit(graph, chain.best.budget(), limit, chain.stop);
    const auto order = refit.run(base, from, cuts.price, noise, chain.random);
    if (order && chain.best.offer(*order)) clean(chain.best, chain.stop);
  }
}

Bound search_portfolio(const Effort& effort, Chain& chain) {
  const Order base = chain.best.graph().base_order();
  const Objective objective = penalty(chain);
  const auto anneal_from = [&](const Order& order, double temperature, const Effort& given) {
    search_with_closures(order, temperature, objective, given, chain);
  };
  const Cuts cuts = explore_cuts(objective, part(effort, 0, 0.2, chain), chain);
  refit_base(cuts, part(effort, 0, 0.2, chain), chain);
  if (optimal(chain, cuts.bound)) return cuts.bound;
  anneal_from(base, kStartTemperature, part(effort, 0.05, 0.05, chain));
  search_as_published(part(effort, 0.1, 0.1, chain), chain);
  anneal_from(base, kStartTemperature, part(effort, 0.2, 0.2, chain));
  for (const Start& start : cuts.starts) {
    anneal_from(start.order, kWarmTemperature, part(effort, 0.1, 0.2, chain));
  }
  for (double share = 0.3; share <= 1 && !optimal(chain, cuts.bound); share += 0.3) {
    clean(chain.best, chain.stop);
    anneal_from(chain.best.order(), kWarmTemperature, part(effort, 0.1, share, chain));
  }
  return cuts.bound;
}

}  // namespace

Bound bound_only(const Effort& effort, Chain& chain) {
  if (nothing_to_gain(chain)) return {};
  return explore_cuts(penalty(chain), effort, chain).bound;
}

Bound search(Algorithm algorithm, const Effort& effort, Chain& chain) {
  if (nothing_to_gain(chain)) return {};
  if (algorithm == Algorithm::kPaper) {
    search_as_published(effort, chain);
    return {};
  }
  const Bound bound = search_portfolio(effort, chain);
  clean(chain.best, chain.stop);
  return bound;
}

}  // namespace fastsa
