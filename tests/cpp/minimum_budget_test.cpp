#include "core/minimum_budget.h"

#include <gtest/gtest.h>

#include "core/simulate.h"
#include "core/solve.h"
#include "graphs.h"

namespace fastsa {
namespace {

TEST(MinimumBudget, IsNeverAboveAPlan) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Graph graph = testing::random_graph(seed, {.ops = 12});
    const MinimumBudget minimum = minimum_budget(graph);
    Request request;
    request.budget = minimum.bytes;
    request.effort.iterations = 20'000;
    const Answer answer = solve(graph, request, nullptr);
    EXPECT_NE(answer.claim.status, Status::kInfeasible);
    EXPECT_GE(answer.claim.peak, minimum.bytes) << seed;
  }
}

TEST(MinimumBudget, CountsOutputsThatCannotBeMadeAgain) {
  // Value 0 is a result of region 0, whose only segment is over when region 1 runs.
  const Graph graph({0, 1}, {100, 10}, {{1, 0, 0, true, {}, {0}}, {1, 5, 1, true, {}, {1}}}, {0});
  EXPECT_EQ(minimum_budget(graph).bytes, 115);
  EXPECT_EQ(minimum_budget(graph).op, 1);
}

TEST(MinimumBudget, CountsAllOutputsAtTheEnd) {
  const Graph graph({0}, {100, 100, 100},
                    {{1, 0, 0, true, {}, {0}}, {1, 0, 0, true, {}, {1}}, {1, 0, 0, true, {}, {2}}},
                    {0, 1, 2});
  EXPECT_EQ(minimum_budget(graph).bytes, 300);
}

}  // namespace
}  // namespace fastsa
