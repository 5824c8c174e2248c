#include "core/floor.h"

#include <gtest/gtest.h>

#include "core/simulate.h"
#include "core/solve.h"
#include "graphs.h"

namespace fastsa {
namespace {

TEST(Floor, IsNeverAboveAPlan) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Graph graph = testing::random_graph(seed, {.ops = 12});
    const Floor floor = budget_floor(graph);
    Request request;
    request.budget = floor.bytes;
    request.effort.iterations = 20'000;
    const Answer answer = solve(graph, request, nullptr);
    EXPECT_NE(answer.claim.status, Status::kInfeasible);
    EXPECT_GE(answer.claim.peak, floor.bytes) << seed;
  }
}

TEST(Floor, CountsOutputsThatCannotBeMadeAgain) {
  // Value 0 is a result of region 0, whose only segment is over when region 1 runs.
  const Graph graph({0, 1}, {100, 10}, {{1, 0, 0, true, {}, {0}}, {1, 5, 1, true, {}, {1}}}, {0});
  EXPECT_EQ(budget_floor(graph).bytes, 115);
  EXPECT_EQ(budget_floor(graph).op, 1);
}

TEST(Floor, CountsAllOutputsAtTheEnd) {
  const Graph graph({0}, {100, 100, 100},
                    {{1, 0, 0, true, {}, {0}}, {1, 0, 0, true, {}, {1}}, {1, 0, 0, true, {}, {2}}},
                    {0, 1, 2});
  EXPECT_EQ(budget_floor(graph).bytes, 300);
}

}  // namespace
}  // namespace fastsa
