// An order with recomputations as a graph of its own: an op per run, a value per instance.
#pragma once

#include <vector>

#include "core/graph.h"

namespace fastsa {

struct Unrolled {
  Graph graph;                    // op k is the run at position k, in the segment it runs in
  std::vector<ValueId> original;  // by instance: the value
  std::vector<char> again;        // by run: a recomputation
};

// Expects a legal order. `weights`: by op, what its time counts for.
Unrolled unroll(const Graph& graph, const Order& order, const std::vector<double>& weights);

}  // namespace fastsa
