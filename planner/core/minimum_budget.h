// The minimum budget: bytes that every legal plan holds at some moment, whatever its order.
#pragma once

#include "core/graph.h"

namespace fastsa {

struct MinimumBudget {
  Bytes bytes = 0;
  OpId op = kNoOp;  // the op that sets it
};

MinimumBudget minimum_budget(const Graph& graph);

}  // namespace fastsa
