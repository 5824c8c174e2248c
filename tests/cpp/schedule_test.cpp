#include "core/schedule.h"

#include <gtest/gtest.h>

#include "core/closure_moves.h"
#include "core/published_moves.h"
#include "core/simulate.h"
#include "core/validate.h"
#include "graphs.h"

namespace fastsa {
namespace {

void expect_true_to_its_order(const Schedule& schedule) {
  const Order order = schedule.order();
  const Verdict verdict = validate(schedule.graph(), order);
  ASSERT_TRUE(verdict.ok()) << verdict.position << ": " << describe(verdict.reason);
  const Footprint footprint = simulate(schedule.graph(), order.sequence);
  EXPECT_EQ(schedule.peak(), footprint.peak);
  EXPECT_NEAR(schedule.seconds(), footprint.seconds, 1e-6);
}

void wander(const Graph& graph, Proposer& proposer, std::uint64_t seed) {
  Random random(seed);
  Schedule schedule(graph, graph.base_order(), 4);
  for (int i = 0; i < 400; ++i) {
    const Order before = schedule.order();
    const Bytes peak = schedule.peak();
    proposer.propose(schedule, random, schedule.seconds() + 20);
    if (random.chance(0.3)) {
      schedule.rollback();
      EXPECT_EQ(schedule.order(), before);
      EXPECT_EQ(schedule.peak(), peak);
    }
    schedule.commit();
    expect_true_to_its_order(schedule);
    if (i % 50 == 49) schedule.load(schedule.order());
    if (::testing::Test::HasFailure()) return;
  }
}

class Wandering : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(Wandering, PublishedMovesStayLegal) {
  const Graph graph = testing::random_graph(GetParam());
  PublishedMoves moves;
  wander(graph, moves, GetParam());
}

TEST_P(Wandering, ClosureMovesStayLegal) {
  const Graph graph = testing::random_graph(GetParam());
  const Bytes peak = simulate(graph, graph.base_order().sequence).peak;
  ClosureMoves moves(graph, peak / 2);
  wander(graph, moves, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Seeds, Wandering, ::testing::Range<std::uint64_t>(0, 40));

TEST(Schedule, LoadsAndGivesBackAnyOrder) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Graph graph = testing::random_graph(seed, {.ops = 12, .segments = 7});
    const Schedule schedule(graph, graph.base_order(), 2);
    EXPECT_EQ(schedule.order(), graph.base_order());
    expect_true_to_its_order(schedule);
  }
}

TEST(Schedule, KnowsARunNobodyUses) {
  const Graph graph = testing::chain_graph(4);
  Schedule schedule(graph, graph.base_order(), 4);
  const Slot first = schedule.runs(1).front();
  EXPECT_FALSE(schedule.useless(first));
  const Slot late = schedule.slots() - 1;
  if (schedule.can_add(1, late)) {
    schedule.add(1, late);
    EXPECT_TRUE(schedule.useless(late));
  }
}

}  // namespace
}  // namespace fastsa
