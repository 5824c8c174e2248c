#include "core/grouping.h"

#include <gtest/gtest.h>

#include "core/published_moves.h"
#include "core/schedule.h"
#include "core/validate.h"
#include "graphs.h"

namespace fastsa {
namespace {

TEST(Grouping, FusesACheapProducerIntoItsConsumers) {
  // 0 -> 1 -> {2, 3}: op 1 makes more than it takes.
  const Graph graph({0}, {4, 8, 4, 4},
                    {{1, 0, 0, true, {}, {0}},
                     {2, 0, 0, true, {0}, {1}},
                     {4, 0, 0, true, {1}, {2}},
                     {8, 0, 0, true, {1}, {3}}},
                    {2, 3});
  const Grouping grouping = group(graph);
  ASSERT_EQ(grouping.graph.ops(), 2);
  EXPECT_EQ(grouping.members[0], (std::vector<OpId>{0, 1, 2}));
  EXPECT_EQ(grouping.members[1], (std::vector<OpId>{0, 1, 3}));
  EXPECT_EQ(grouping.graph.seconds(1), 11);
  EXPECT_EQ(grouping.graph.workspace(0), 12);
}

TEST(Grouping, KeepsAnOpWhoseOutputsGoDifferentWays) {
  const Graph graph(
      {0}, {8, 8, 1, 1},
      {{1, 0, 0, true, {}, {0, 1}}, {1, 0, 0, true, {0}, {2}}, {1, 0, 0, true, {1}, {3}}}, {2, 3});
  EXPECT_EQ(group(graph).graph.ops(), 3);
}

TEST(Grouping, ExpandsToLegalOrders) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Graph graph = testing::random_graph(seed, {.ops = 25, .segments = 4});
    const Grouping grouping = group(graph);
    Schedule schedule(grouping.graph, grouping.graph.base_order(), 4);
    PublishedMoves moves;
    Random random(seed);
    for (int i = 0; i < 300; ++i) {
      moves.propose(schedule, random, 1e9);
      schedule.commit();
    }
    const Verdict verdict = validate(graph, grouping.expand(schedule.order()));
    EXPECT_TRUE(verdict.ok()) << seed << " " << describe(verdict.reason);
  }
}

}  // namespace
}  // namespace fastsa
