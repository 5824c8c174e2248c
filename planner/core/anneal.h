// Simulated annealing of a schedule.
#pragma once

#include <mutex>

#include "core/incumbent.h"
#include "core/objective.h"
#include "core/proposer.h"
#include "core/stop.h"

namespace fastsa {

// How long to search. With iterations alone the answer does not depend on the machine's speed.
struct Effort {
  std::int64_t iterations = std::numeric_limits<std::int64_t>::max();
  Seconds seconds = kForever;

  Effort share(double fraction) const;
};

struct Cooling {
  double start = 0;  // temperatures, in the objective's units
  double end = 0;
  Effort effort;
  bool until_within_budget = false;
};

// What the chains of a search tell each other: the best order any of them has found.
class Exchange {
 public:
  Exchange(const Graph& graph, Bytes budget) : best_(graph, budget) {}

  // Gives what `mine` has, and takes what is better.
  void trade(Incumbent& mine) {
    const std::lock_guard lock(mutex_);
    best_.offer(mine.order());
    mine.offer(best_.order());
  }

 private:
  std::mutex mutex_;
  Incumbent best_;
};

// One thread's search: its random stream, what it found, and how far it got.
struct Chain {
  Random random;
  Incumbent best;
  const Stop& stop;
  Exchange* exchange;  // none if it is alone
  std::atomic<std::int64_t> iterations{0};

  Chain(const Graph& graph, Bytes budget, std::uint64_t seed, const Stop& stop_when,
        Exchange* shared = nullptr)
      : random(seed), best(graph, budget), stop(stop_when), exchange(shared) {}
};

// Lowers the objective, geometric cooling; offers what it passes to the chain's incumbent, unless
// the schedule is of another graph (`offers` false).
void anneal(Schedule& schedule, Proposer& proposer, const Objective& objective,
            const Cooling& cooling, Chain& chain, bool offers = true);

}  // namespace fastsa
