#include "core/solve.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "graphs.h"

namespace fastsa {
namespace {

Request request(Bytes budget, std::int64_t iterations) {
  Request made;
  made.budget = budget;
  made.effort.iterations = iterations;
  return made;
}

TEST(Solve, FindsCheckpointsOfAChain) {
  const Graph graph = testing::chain_graph(30);
  const Answer answer = solve(graph, request(12 * 8, 100'000), nullptr);
  EXPECT_LE(answer.claim.peak, 12 * 8);
  EXPECT_LE(answer.claim.seconds - answer.claim.base_seconds, 30);
}

// The bytes of all instances, of recomputed ones too, may be more than a number holds.
TEST(Solve, TakesSizesUpToTheLimit) {
  const Graph small = testing::chain_graph(3);
  const Bytes largest = kMostBytes / small.values();
  const Graph graph = testing::chain_graph(3, largest);
  const Bytes minimum = minimum_budget(graph).bytes;
  for (const Bytes more : {Bytes{0}, largest / 2, largest}) {
    EXPECT_NE(solve(graph, request(minimum + more, 5'000), nullptr).claim.status,
              Status::kInfeasible);
  }
}

TEST(Solve, TakesOpsOfNoTime) {
  const Graph chain = testing::chain_graph(20);
  std::vector<Bytes> bytes(static_cast<std::size_t>(chain.values()), 8);
  std::vector<Op> ops;
  for (OpId op = 0; op < chain.ops(); ++op) {
    const auto in = chain.inputs(op);
    const auto out = chain.outputs(op);
    ops.push_back(
        {0, 0, chain.segment(op), true, {in.begin(), in.end()}, {out.begin(), out.end()}});
  }
  const Graph graph({0, 0}, std::move(bytes), std::move(ops), {chain.values() - 1});
  EXPECT_LE(solve(graph, request(10 * 8, 100'000), nullptr).claim.peak, 10 * 8);
}

TEST(Solve, IsReproducible) {
  for (const Algorithm algorithm : {Algorithm::kPaper, Algorithm::kPortfolio}) {
    const Graph graph = testing::random_graph(7, {.ops = 80, .segments = 2});
    Request made = request(minimum_budget(graph).bytes * 3 / 2, 20'000);
    made.algorithm = algorithm;
    EXPECT_EQ(solve(graph, made, nullptr).order, solve(graph, made, nullptr).order);
  }
}

TEST(Solve, StopsWhenItsMonitorSaysSo) {
  const Graph graph = testing::chain_graph(200);
  Request made = request(20 * 8, Effort{}.iterations);
  made.effort.seconds = 60;
  const Answer answer = solve(graph, made, [](const Progress&) { return false; });
  EXPECT_LT(answer.elapsed, 5);
}

TEST(Solve, PassesOnWhatItsMonitorThrows) {
  const Graph graph = testing::chain_graph(200);
  Request made = request(20 * 8, Effort{}.iterations);
  made.effort.seconds = 60;
  made.threads = 2;
  const Monitor monitor = [](const Progress&) -> bool { throw std::runtime_error("enough"); };
  EXPECT_THROW(solve(graph, made, monitor), std::runtime_error);
}

TEST(Solve, RefusesASenselessRequest) {
  const Graph graph = testing::chain_graph(3);
  EXPECT_THROW(solve(graph, Request{}, nullptr), BadRequest);
  Request made = request(24, 1);
  made.threads = 0;
  EXPECT_THROW(solve(graph, made, nullptr), BadRequest);
  made.threads = 1;
  made.warm_start = Order{{2, 1, 0}, {0, 3}};
  EXPECT_THROW(solve(graph, made, nullptr), BadRequest);
}

TEST(Solve, ThreadsAreNotWorseThanOne) {
  const Graph graph = testing::chain_graph(40);
  Request made = request(13 * 8, 20'000);
  const Answer one = solve(graph, made, nullptr);
  made.threads = 3;
  const Answer three = solve(graph, made, nullptr);
  EXPECT_LE(three.claim.seconds, one.claim.seconds);
}

}  // namespace
}  // namespace fastsa
