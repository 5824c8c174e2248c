#include "core/bound.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/just_in_time.h"
#include "core/validate.h"
#include "graphs.h"

namespace fastsa {
namespace {

// The least extra time of any legal plan within the budget with at most `most` runs, by trying all.
class Exhaustive {
 public:
  Exhaustive(const Graph& graph, Bytes budget, std::size_t most)
      : graph_(graph), budget_(budget), most_(most) {
    ran_.assign(static_cast<std::size_t>(graph.ops()), 0);
    extend(0, 0);
  }

  Seconds best() const { return best_; }

 private:
  void extend(SegmentId segment, Seconds seconds) {
    if (seconds >= best_) return;
    if (missing_ == -1) missing_ = graph_.ops();
    if (missing_ == 0 && simulate(graph_, sequence_).peak <= budget_) best_ = seconds;
    if (sequence_.size() == most_) return;
    for (SegmentId s = segment; s < graph_.segments(); ++s) {
      for (OpId op = 0; op < graph_.ops(); ++op) try_op(op, s, seconds);
    }
  }

  void try_op(OpId op, SegmentId segment, Seconds seconds) {
    const bool again = ran_[op] > 0;
    if (again &&
        (!graph_.recomputable(op) || graph_.region(op) != graph_.segment_region(segment))) {
      return;
    }
    if (!again && graph_.segment(op) != segment) return;
    for (ValueId v : graph_.inputs(op)) {
      if (ran_[graph_.producer(v)] == 0) return;
    }
    sequence_.push_back(op);
    missing_ -= again ? 0 : 1;
    ++ran_[op];
    extend(segment, seconds + graph_.seconds(op));
    --ran_[op];
    missing_ += again ? 0 : 1;
    sequence_.pop_back();
  }

  const Graph& graph_;
  Bytes budget_;
  std::size_t most_;
  std::vector<int> ran_;
  OpId missing_ = -1;
  std::vector<OpId> sequence_;
  Seconds best_ = std::numeric_limits<Seconds>::infinity();
};

Seconds bound_of(const Graph& graph, Bytes budget) {
  const Stop stop(kForever);
  Chain chain(graph, budget, 0, stop);
  return explore_cuts(Objective::penalty(budget, 1), Effort{}, chain).bound.seconds;
}

// One segment, several, and several regions: all orders of all ops are tried.
class BoundBySegments : public ::testing::TestWithParam<int> {};

TEST_P(BoundBySegments, IsNeverAboveTheBestPlan) {
  int above_zero = 0;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    const Graph graph = testing::random_graph(seed, {.ops = 5, .segments = GetParam()});
    const Bytes peak = simulate(graph, graph.base_order().sequence).peak;
    for (const Bytes budget : {peak - 1, peak * 9 / 10, peak * 3 / 4, peak / 2}) {
      const Exhaustive exhaustive(graph, budget, 7);
      const Seconds extra = exhaustive.best() - graph.total_seconds();
      const Seconds bound = bound_of(graph, budget);
      EXPECT_LE(bound, extra + 1e-9) << seed << " " << budget;
      if (bound > 0 && extra < kForever) ++above_zero;
    }
  }
  EXPECT_GT(above_zero, 0) << "a bound that is always zero shows nothing";
}

INSTANTIATE_TEST_SUITE_P(Segments, BoundBySegments, ::testing::Values(1, 2, 3));

// Weight gradients may run early or late: the bound knows neither.
TEST(Bound, HoldsWhereTheBackwardIsFree) {
  int above_zero = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Random random(seed);
    std::vector<Bytes> bytes;
    for (int v = 0; v < 7; ++v) bytes.push_back(1 + random.below(9));
    const auto seconds = [&random] { return 1.0 + random.below(4); };
    std::vector<Op> ops{{seconds(), 0, 0, true, {}, {0}},     {seconds(), 0, 0, true, {0}, {1}},
                        {seconds(), 0, 1, true, {1}, {2}},    {seconds(), 0, 1, true, {2, 1}, {3}},
                        {seconds(), 0, 1, true, {2, 0}, {4}}, {seconds(), 0, 1, true, {4, 0}, {5}}};
    const Graph graph({0, 0}, bytes, ops, {3, 5});
    const Bytes peak = simulate(graph, graph.base_order().sequence).peak;
    for (Bytes budget = peak - 1; budget >= peak / 2; budget -= 2) {
      const Seconds extra = Exhaustive(graph, budget, 8).best() - graph.total_seconds();
      const Seconds bound = bound_of(graph, budget);
      EXPECT_LE(bound, extra + 1e-9) << seed << " " << budget;
      if (bound > 0 && extra < kForever) ++above_zero;
    }
  }
  EXPECT_GT(above_zero, 0);
}

// Two steps in one, as gradients are accumulated: each has its own moment.
TEST(Bound, AddsUpRegions) {
  const auto steps = [](int count) {
    std::vector<Bytes> bytes;
    std::vector<Op> ops;
    std::vector<RegionId> regions;
    for (int step = 0; step < count; ++step) {
      const Graph chain = testing::chain_graph(4);
      const auto shift = static_cast<ValueId>(bytes.size());
      for (ValueId v = 0; v < chain.values(); ++v) bytes.push_back(chain.bytes(v));
      for (OpId op = 0; op < chain.ops(); ++op) {
        Op made{1, 0, 2 * step + chain.segment(op), true, {}, {}};
        for (ValueId v : chain.inputs(op)) made.inputs.push_back(shift + v);
        for (ValueId v : chain.outputs(op)) made.outputs.push_back(shift + v);
        ops.push_back(std::move(made));
      }
      regions.insert(regions.end(), 2, step);
    }
    return Graph(std::move(regions), std::move(bytes), std::move(ops), {});
  };
  const Seconds one = bound_of(steps(1), 4 * 8);
  EXPECT_GT(one, 0);
  EXPECT_NEAR(bound_of(steps(3), 4 * 8), 3 * one, 1e-9);
}

TEST(Bound, HoldsOnAChain) {
  const Graph graph = testing::chain_graph(3);
  for (Bytes budget = 3 * 8; budget <= 4 * 8; budget += 8) {
    const Seconds extra = Exhaustive(graph, budget, 9).best() - graph.total_seconds();
    EXPECT_LE(bound_of(graph, budget), extra + 1e-9);
  }
}

TEST(JustInTime, IsLegalWhateverIsDropped) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Graph graph = testing::random_graph(seed, {.ops = 25, .segments = 4});
    Random random(seed);
    std::vector<char> dropped;
    for (ValueId v = 0; v < graph.values(); ++v) dropped.push_back(random.chance(0.5) ? 1 : 0);
    const Verdict verdict = validate(graph, just_in_time(graph, dropped));
    EXPECT_TRUE(verdict.ok()) << seed << " " << verdict.position << " " << describe(verdict.reason);
  }
}

}  // namespace
}  // namespace fastsa
