#include "core/validate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

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

// A chain whose first op runs again in the backward.
struct Planned {
  Graph graph = testing::chain_graph(3);
  Order order;
  Claim claim;

  Planned() {
    order = graph.base_order();
    order.sequence.insert(order.sequence.end() - 1, 0);
    claim = honest(graph, order);
  }
};

Graph with(const Graph& graph, std::vector<RegionId> regions, OpId fixed) {
  std::vector<Bytes> bytes;
  std::vector<ValueId> outputs;
  for (ValueId v = 0; v < graph.values(); ++v) {
    bytes.push_back(graph.bytes(v));
    if (graph.is_output(v)) outputs.push_back(v);
  }
  std::vector<Op> ops;
  for (OpId op = 0; op < graph.ops(); ++op) {
    const auto in = graph.inputs(op);
    const auto out = graph.outputs(op);
    ops.push_back({graph.seconds(op),
                   graph.workspace(op),
                   graph.segment(op),
                   op != fixed,
                   {in.begin(), in.end()},
                   {out.begin(), out.end()}});
  }
  return Graph(std::move(regions), std::move(bytes), std::move(ops), std::move(outputs));
}

TEST(Validate, KnowsWhereAnOpMayRunAgain) {
  const Planned planned;
  const auto again = static_cast<Position>(planned.order.sequence.size()) - 2;
  EXPECT_TRUE(validate(planned.graph, planned.order).ok());

  const Verdict fixed = validate(with(planned.graph, {0, 0}, 0), planned.order);
  EXPECT_EQ(fixed.reason, Reason::kNotRecomputable);
  EXPECT_EQ(fixed.position, again);

  const Verdict elsewhere = validate(with(planned.graph, {0, 1}, kNoOp), planned.order);
  EXPECT_EQ(elsewhere.reason, Reason::kRecomputedElsewhere);
  EXPECT_EQ(elsewhere.position, again);

  Order without = planned.graph.base_order();
  without.sequence.pop_back();
  EXPECT_EQ(validate(planned.graph, without).reason, Reason::kNeverRuns);
  EXPECT_EQ(validate(planned.graph, without).position, planned.graph.ops() - 1);

  Order unknown = planned.order;
  unknown.sequence.push_back(planned.graph.ops());
  EXPECT_EQ(validate(planned.graph, unknown).reason, Reason::kUnknownOp);
  EXPECT_EQ(validate(planned.graph, unknown).position,
            static_cast<Position>(unknown.sequence.size()) - 1);
}

TEST(Validate, KnowsWhereSegmentsStart) {
  const Planned planned;
  const auto end = static_cast<Position>(planned.order.sequence.size());
  Order wrong = planned.order;
  wrong.segment_starts = {1, wrong.segment_starts[1]};
  EXPECT_EQ(validate(planned.graph, wrong).reason, Reason::kSegmentStarts);
  EXPECT_EQ(validate(planned.graph, wrong).position, 0);
  wrong.segment_starts = {0, -1};
  EXPECT_EQ(validate(planned.graph, wrong).reason, Reason::kSegmentStarts);
  EXPECT_EQ(validate(planned.graph, wrong).position, 1);
  wrong.segment_starts = {0, end + 1};
  EXPECT_EQ(validate(planned.graph, wrong).reason, Reason::kSegmentStarts);
  wrong.segment_starts = {0, 1, 1};
  EXPECT_EQ(validate(planned.graph, wrong).reason, Reason::kSegmentCount);

  // Segments in which nothing runs, at the start and at the end, and none at all.
  const Graph empty({0, 0, 0}, {8}, {{1, 0, 1, true, {}, {0}}}, {});
  EXPECT_TRUE(validate(empty, {{0}, {0, 0, 1}}).ok());
  EXPECT_EQ(validate(empty, {{0}, {0, 1, 1}}).reason, Reason::kFirstRunSegment);
  EXPECT_EQ(validate(empty, {{0}, {0, 1, 0}}).reason, Reason::kSegmentStarts);
  const Graph none({}, {8}, {}, {});
  EXPECT_TRUE(validate(none, {{}, {}}).ok());
  EXPECT_EQ(validate(none, {{0}, {}}).reason, Reason::kSegmentCount);
}

// Every number is wrong as soon as it is one byte, or more than rounding, off.
TEST(Validate, BelievesNoNumber) {
  const Planned planned;
  const auto reason = [&](auto change) {
    Claim lie = planned.claim;
    change(lie);
    return validate(planned.graph, planned.order, lie).reason;
  };
  EXPECT_EQ(reason([](Claim&) {}), Reason::kNone);
  EXPECT_EQ(reason([](Claim& c) { c.peak -= 1; }), Reason::kWrongPeak);
  EXPECT_EQ(reason([](Claim& c) { c.seconds += 1e-3; }), Reason::kWrongSeconds);
  EXPECT_EQ(reason([](Claim& c) { c.seconds = NAN; }), Reason::kWrongSeconds);
  EXPECT_EQ(reason([](Claim& c) { c.seconds += 1e-12; }), Reason::kNone);
  EXPECT_EQ(reason([](Claim& c) { c.base_peak += 1; }), Reason::kWrongBasePeak);
  EXPECT_EQ(reason([](Claim& c) { c.base_seconds -= 1e-3; }), Reason::kWrongBaseSeconds);
  EXPECT_EQ(reason([](Claim& c) { c.budget -= 1; }), Reason::kOverBudget);
  EXPECT_EQ(reason([](Claim& c) { c.status = Status::kNotFound; }), Reason::kWithinBudget);
  EXPECT_EQ(reason([](Claim& c) { c.minimum_budget = c.budget; }), Reason::kNone);
  EXPECT_EQ(reason([](Claim& c) { c.minimum_budget = c.budget + 1; }), Reason::kBelowMinimum);
  EXPECT_EQ(reason([](Claim& c) { c.lower_bound = 1; }), Reason::kNone);
  EXPECT_EQ(reason([](Claim& c) { c.lower_bound = 1.001; }), Reason::kBoundAboveTime);
  EXPECT_EQ(reason([](Claim& c) { c.lower_bound = NAN; }), Reason::kBoundAboveTime);
  EXPECT_EQ(reason([](Claim& c) { c.status = Status::kOptimal; }), Reason::kNotOptimal);
  EXPECT_EQ(reason([](Claim& c) {
              c.status = Status::kOptimal;
              c.lower_bound = 1;
            }),
            Reason::kNone);
}

TEST(Validate, AStepOfNoTimeIsOptimal) {
  const Graph graph({0}, {8}, {{0, 0, 0, true, {}, {0}}}, {0});
  Claim claim = honest(graph, graph.base_order());
  claim.status = Status::kOptimal;
  EXPECT_TRUE(validate(graph, graph.base_order(), claim).ok());
}

TEST(Validate, WantsInfeasibilityShown) {
  const Graph graph = testing::chain_graph(3);
  const Order nothing{{}, {0, 0}};
  Claim claim = honest(graph, graph.base_order());
  claim.status = Status::kInfeasible;
  claim.peak = 0;
  claim.seconds = 0;
  claim.budget = 23;
  claim.minimum_budget = 24;
  const auto reason = [&](const Order& order, auto change) {
    Claim lie = claim;
    change(lie);
    return validate(graph, order, lie).reason;
  };
  EXPECT_EQ(reason(nothing, [](Claim&) {}), Reason::kNone);
  EXPECT_EQ(reason(nothing, [](Claim& c) { c.budget = 24; }), Reason::kNotInfeasible);
  EXPECT_EQ(reason(nothing, [](Claim& c) { c.peak = 1; }), Reason::kWrongPeak);
  EXPECT_EQ(reason(nothing, [](Claim& c) { c.seconds = 1; }), Reason::kWrongSeconds);
  EXPECT_EQ(reason(graph.base_order(), [](Claim&) {}), Reason::kNotInfeasible);
}

TEST(Validate, EveryReasonHasWords) {
  for (int i = 0; i <= static_cast<int>(Reason::kBelowMinimum); ++i) {
    EXPECT_NE(std::string(name(static_cast<Reason>(i))), "");
    EXPECT_NE(std::string(describe(static_cast<Reason>(i))), "");
  }
}

}  // namespace
}  // namespace fastsa
