#include "core/validate.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/simulate.h"
#include "graphs.h"

namespace fastsa {
namespace {

// The memory model word for word: what is alive at one position.
Bytes alive(const Graph& graph, const std::vector<OpId>& sequence, std::size_t position) {
  Bytes total = graph.workspace(sequence[position]);
  const auto lists = [](auto span, ValueId v) { return std::ranges::find(span, v) != span.end(); };
  for (ValueId v = 0; v < graph.values(); ++v) {
    std::size_t birth = sequence.size();
    std::size_t death = 0;
    std::size_t until = sequence.size();
    for (std::size_t k = 0; k < sequence.size(); ++k) {
      if (!lists(graph.outputs(sequence[k]), v)) continue;
      if (k <= position) birth = k;
      if (k > position) until = std::min(until, k);
    }
    if (birth == sequence.size()) continue;
    death = birth;
    for (std::size_t k = birth; k < until; ++k) {
      if (lists(graph.inputs(sequence[k]), v)) death = k;
    }
    if (until == sequence.size() && graph.is_output(v)) death = sequence.size() - 1;
    if (position <= death) total += graph.bytes(v);
  }
  return total;
}

Claim honest(const Graph& graph, const Order& order) {
  Claim claim;
  const Footprint base = simulate(graph, graph.base_order().sequence);
  const Footprint own = simulate(graph, order.sequence);
  claim.base_peak = base.peak;
  claim.base_seconds = base.seconds;
  claim.peak = own.peak;
  claim.seconds = own.seconds;
  claim.budget = own.peak;
  return claim;
}

TEST(Simulate, IsTheMemoryModel) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const Graph graph = testing::random_graph(seed, {.ops = 15, .segments = 1, .fixed_ops = false});
    std::vector<OpId> sequence = graph.base_order().sequence;
    Random random(seed);
    for (int i = 0; i < 10; ++i) sequence.push_back(random.below(graph.ops()));
    Bytes peak = 0;
    for (std::size_t k = 0; k < sequence.size(); ++k) {
      peak = std::max(peak, alive(graph, sequence, k));
    }
    EXPECT_EQ(simulate(graph, sequence).peak, peak);
    Order order{sequence, {0}};
    EXPECT_TRUE(validate(graph, order, honest(graph, order)).ok());
  }
}

TEST(Validate, SaysWhatIsWrongAndWhere) {
  const Graph graph = testing::chain_graph(3);
  const Order good = graph.base_order();
  const Claim claim = honest(graph, good);
  EXPECT_TRUE(validate(graph, good, claim).ok());

  Order wrong = good;
  std::swap(wrong.sequence[0], wrong.sequence[1]);
  EXPECT_EQ(validate(graph, wrong, claim).reason, Reason::kInputMissing);
  EXPECT_EQ(validate(graph, wrong, claim).position, 0);

  wrong = good;
  wrong.sequence.push_back(-1);
  EXPECT_EQ(validate(graph, wrong, claim).reason, Reason::kUnknownOp);

  wrong = good;
  wrong.segment_starts = {0};
  EXPECT_EQ(validate(graph, wrong, claim).reason, Reason::kSegmentCount);
  wrong.segment_starts = {0, 100};
  EXPECT_EQ(validate(graph, wrong, claim).reason, Reason::kSegmentStarts);
  wrong.segment_starts = {0, 2};
  EXPECT_EQ(validate(graph, wrong, claim).reason, Reason::kFirstRunSegment);

  Claim lie = claim;
  lie.peak += 1;
  EXPECT_EQ(validate(graph, good, lie).reason, Reason::kWrongPeak);
  lie = claim;
  lie.budget = claim.peak - 1;
  EXPECT_EQ(validate(graph, good, lie).reason, Reason::kOverBudget);
  lie.status = Status::kNotFound;
  EXPECT_TRUE(validate(graph, good, lie).ok());
}

TEST(Validate, EveryReasonHasWords) {
  for (int i = 0; i <= static_cast<int>(Reason::kBelowMinimum); ++i) {
    EXPECT_NE(std::string(name(static_cast<Reason>(i))), "");
    EXPECT_NE(std::string(describe(static_cast<Reason>(i))), "");
  }
}

}  // namespace
}  // namespace fastsa
