#include "core/max_flow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/random.h"

namespace fastsa {
namespace {

struct Link {
  Node from;
  Node to;
  Capacity capacity;
};

Capacity cut_value(const std::vector<Link>& links, unsigned with_source) {
  Capacity value = 0;
  for (const Link& link : links) {
    const bool from = (with_source >> link.from & 1U) != 0;
    const bool to = (with_source >> link.to & 1U) != 0;
    if (from && !to) value += link.capacity;
  }
  return value;
}

Capacity smallest_cut(const std::vector<Link>& links, int nodes) {
  Capacity smallest = std::numeric_limits<Capacity>::max();
  for (unsigned side = 0; side < 1U << nodes; ++side) {
    const bool source = (side >> MaxFlow::kSource & 1U) != 0;
    const bool sink = (side >> MaxFlow::kSink & 1U) != 0;
    if (source && !sink) smallest = std::min(smallest, cut_value(links, side));
  }
  return smallest;
}

TEST(MaxFlow, FindsAMinimumCut) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed);
    const int nodes = 3 + random.below(7);
    MaxFlow flow;
    for (int i = 2; i < nodes; ++i) flow.add_node();
    std::vector<Link> links;
    for (int i = 0; i < 3 * nodes; ++i) {
      const Link link{random.below(nodes), random.below(nodes), random.below(10)};
      if (link.from == link.to || link.from == MaxFlow::kSink || link.to == MaxFlow::kSource) {
        continue;
      }
      links.push_back(link);
      flow.add_edge(link.from, link.to, link.capacity);
    }
    const Capacity value = flow.solve(Stop(kForever));
    EXPECT_EQ(value, smallest_cut(links, nodes)) << seed;
    unsigned side = 1U << MaxFlow::kSource;
    for (Node node = 2; node < nodes; ++node) side |= (flow.with_source(node) ? 1U : 0U) << node;
    EXPECT_EQ(cut_value(links, side), value) << seed;
  }
}

TEST(MaxFlow, SolvesAgainWithOtherCapacities) {
  MaxFlow flow;
  const Node middle = flow.add_node();
  const Edge in = flow.add_edge(MaxFlow::kSource, middle, 5);
  flow.add_edge(middle, MaxFlow::kSink, 3);
  EXPECT_EQ(flow.solve(Stop(kForever)), 3);
  EXPECT_TRUE(flow.with_source(middle));
  flow.set_capacity(in, 2);
  EXPECT_EQ(flow.solve(Stop(kForever)), 2);
  EXPECT_FALSE(flow.with_source(middle));
}

}  // namespace
}  // namespace fastsa
