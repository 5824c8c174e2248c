// Where the annealer's next schedule comes from.
#pragma once

#include "core/random.h"
#include "core/schedule.h"

namespace fastsa {

class Proposer {
 public:
  virtual ~Proposer() = default;

  // Changes the schedule without committing, or leaves it alone. What takes more than `slowest`
  // seconds will not be accepted: giving up on it early saves most of the work.
  virtual void propose(Schedule& schedule, Random& random, Seconds slowest) = 0;
};

}  // namespace fastsa
