// Moves per second on synthetic training graphs: a forward with skips and a backward that reads it.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "core/closure_moves.h"
#include "core/objective.h"
#include "core/published_moves.h"
#include "core/simulate.h"

namespace fastsa {
namespace {

Graph training_graph(int length) {
  Random random(1);
  std::vector<Bytes> bytes;
  std::vector<Op> ops;
  const auto make = [&](SegmentId segment, std::vector<ValueId> inputs) {
    std::ranges::sort(inputs);
    inputs.erase(std::ranges::unique(inputs).begin(), inputs.end());
    const auto made = static_cast<ValueId>(bytes.size());
    bytes.push_back(1 + random.below(64));
    ops.push_back({1.0 + random.below(8), 0, segment, true, std::move(inputs), {made}});
    return made;
  };
  make(0, {});
  for (ValueId v = 1; v < length; ++v) make(0, {v - 1, std::max(0, v - 1 - random.below(8))});
  ValueId gradient = make(1, {length - 1});
  for (ValueId v = length - 1; v >= 0; --v) {
    std::vector<ValueId> inputs = ops[v].inputs;
    inputs.push_back(v);
    inputs.push_back(gradient);
    gradient = make(1, std::move(inputs));
  }
  return Graph({0, 0}, std::move(bytes), std::move(ops), {gradient});
}

template <typename Moves>
void run(benchmark::State& state, const Graph& graph, Moves moves, Bytes budget) {
  Schedule schedule(graph, graph.base_order(), 8);
  const auto objective =
      Objective::penalty(budget, 4 * schedule.seconds() / static_cast<double>(schedule.peak()));
  Random random(1);
  double value = objective.value(schedule.seconds(), schedule.peak());
  for (auto _ : state) {
    const double limit = value * (1 + 1e-6);
    moves.propose(schedule, random, limit);
    const double next = objective.value(schedule.seconds(), schedule.peak());
    if (next > limit) {
      schedule.rollback();
    } else {
      schedule.commit();
      value = next;
    }
  }
  state.SetItemsProcessed(state.iterations());
}

void published(benchmark::State& state) {
  const Graph graph = training_graph(static_cast<int>(state.range(0)) / 2);
  const Bytes peak = simulate(graph, graph.base_order().sequence).peak;
  run(state, graph, PublishedMoves(), peak / 2);
}

void closures(benchmark::State& state) {
  const Graph graph = training_graph(static_cast<int>(state.range(0)) / 2);
  const Bytes peak = simulate(graph, graph.base_order().sequence).peak;
  run(state, graph, ClosureMoves(graph, peak / 2), peak / 2);
}

BENCHMARK(published)->Arg(400)->Arg(4000)->Arg(40000);
BENCHMARK(closures)->Arg(400)->Arg(4000)->Arg(40000);

}  // namespace
}  // namespace fastsa
