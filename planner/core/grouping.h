// Node grouping, the first phase of FastSA: cheap producers join their consumers.
#pragma once

#include "core/graph.h"

namespace fastsa {

// A coarser graph and what its ops stand for.
struct Grouping {
  Graph graph;
  std::vector<std::vector<OpId>> members;  // by op of the coarse graph: original ops, in order

  Order expand(const Order& order) const;
};

// Fuses an op whose inputs are no larger than its outputs into all its consumers, where each of
// them takes all its outputs and may run it.
Grouping group(const Graph& graph);

}  // namespace fastsa
