#include "core/search.h"

#include <algorithm>

#include "core/grouping.h"
#include "core/portfolio.h"
#include "core/published_moves.h"

namespace fastsa {
namespace {

// Temperatures as published: from 0.1% of the objective down to 0.01% of that.
constexpr double kStartTemperature = 1e-3;
constexpr double kCoolingRatio = 1e-4;
constexpr std::int64_t kGroupedIterations = 20'000'000;
constexpr std::int64_t kUngroupedIterations = 2'000'000;
constexpr double kGroupedShare = 10.0 / 11;

constexpr Slot kRoominess = 4;

Effort at_most(Effort effort, std::int64_t iterations) {
  effort.iterations = std::min(effort.iterations, iterations);
  return effort;
}

}  // namespace

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

Bound search(Algorithm algorithm, const Effort& effort, Chain& chain) {
  if (nothing_to_gain(chain)) return {};
  if (algorithm == Algorithm::kPortfolio) return search_portfolio(effort, chain);
  search_as_published(effort, chain);
  return {};
}

}  // namespace fastsa
