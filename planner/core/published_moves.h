// The moves of FastSA as published: add, remove and rotate one op, anywhere.
#pragma once

#include "core/proposer.h"

namespace fastsa {

class PublishedMoves : public Proposer {
 public:
  void propose(Schedule& schedule, Random& random, Seconds slowest) override;
};

}  // namespace fastsa
