// The default algorithm: minimum cuts for a bound and for starts, the published search, and closure
// moves on the starts that prove best.
#pragma once

#include "core/bound.h"

namespace fastsa {

// Whether the best so far fits without recomputing: the unplanned order is the fastest there is.
bool nothing_to_gain(const Chain& chain);

// The bound alone, without searching.
Bound bound_only(const Effort& effort, Chain& chain);

Bound search_portfolio(const Effort& effort, Chain& chain);

}  // namespace fastsa
