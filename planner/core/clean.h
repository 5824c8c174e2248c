// The last step: drop every recomputation the plan does not need.
#pragma once

#include "core/incumbent.h"
#include "core/stop.h"

namespace fastsa {

// Takes recomputations out of the best order, the dearest first, as long as it stays within the
// budget (or, if it misses it, as long as the peak does not grow).
void clean(Incumbent& best, const Stop& stop);

}  // namespace fastsa
