// The certificate's time, from minimum cuts at the moments that bind most, and the starts they
// give.
#pragma once

#include "core/anneal.h"

namespace fastsa {

struct Bound {
  Seconds seconds = 0;  // no legal plan within the budget takes less extra
  const char* assumes = "nothing: every op runs at least once";
};

struct Start {
  Order order;
  double value;  // of the objective
};

struct Cuts {
  Bound bound;
  double price = 0;           // seconds per byte of the budget, where the bound was found
  std::vector<Start> starts;  // the best few, the best first
};

// Spends at most `effort.seconds`; iterations do not matter. Offers every start to the incumbent.
Cuts explore_cuts(const Objective& objective, const Effort& effort, Chain& chain);

}  // namespace fastsa
