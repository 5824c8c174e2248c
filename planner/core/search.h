// One chain's way through the algorithms.
#pragma once

#include "core/bound.h"

namespace fastsa {

enum class Algorithm {
  kPaper,      // FastSA as published
  kPortfolio,  // that, and closure moves on the same state
};

// FastSA as published.
void search_as_published(const Effort& effort, Chain& chain);

// Returns the best bound it came upon.
Bound search(Algorithm algorithm, const Effort& effort, Chain& chain);

}  // namespace fastsa
