// The certificate's time: no legal plan within the budget takes less extra than this.
#pragma once

#include "core/graph.h"

namespace fastsa {

struct Bound {
  Seconds seconds = 0;
  const char* assumes = "";
};

Bound lower_bound(const Graph& graph, Bytes budget);

}  // namespace fastsa
