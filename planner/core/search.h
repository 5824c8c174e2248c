// One chain's way through the algorithms.
#pragma once

#include "core/anneal.h"

namespace fastsa {

enum class Algorithm {
  kPaper,      // FastSA as published
  kPortfolio,  // that, and closure moves on the same state
};

void search(Algorithm algorithm, const Effort& effort, Chain& chain);

}  // namespace fastsa
