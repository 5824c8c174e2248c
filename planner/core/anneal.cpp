#include "core/anneal.h"

#include <cmath>

namespace fastsa {
namespace {

constexpr std::int64_t kIterationsPerLook = 32;  // at the clock, the flag and the temperature
constexpr std::int64_t kLooksPerCrowdCheck = 512;
constexpr double kWorthKeeping = 2e-5;  // of the step time: keeping an order costs O(n)

class Annealer {
 public:
  Annealer(Schedule& schedule, Proposer& proposer, const Objective& objective,
           const Cooling& cooling, Chain& chain, bool offers)
      : schedule_(schedule),
        proposer_(proposer),
        objective_(objective),
        cooling_(cooling),
        chain_(chain),
        offers_(offers),
        value_(objective.value(schedule.seconds(), schedule.peak())),
        temperature_(cooling.start) {
    kept_ = chain.best.footprint();
  }

  void run() {
    while (look()) {
      for (std::int64_t i = 0; i < kIterationsPerLook && done_ < cooling_.effort.iterations; ++i) {
        step();
        ++done_;
        if (cooling_.until_within_budget && schedule_.peak() <= objective_.budget()) break;
      }
    }
    if (offers_) chain_.best.offer(schedule_.order());
    chain_.iterations.fetch_add(done_ - reported_, std::memory_order_relaxed);
  }

 private:
  // Whether to go on.
  bool look() {
    chain_.iterations.fetch_add(done_ - reported_, std::memory_order_relaxed);
    reported_ = done_;
    if (done_ >= cooling_.effort.iterations || chain_.stop.now()) return false;
    if (cooling_.until_within_budget && schedule_.peak() <= objective_.budget()) return false;
    double fraction = static_cast<double>(done_) / static_cast<double>(cooling_.effort.iterations);
    if (cooling_.effort.seconds < kForever) {
      fraction = std::max(fraction, seconds_since(start_) / cooling_.effort.seconds);
    }
    if (fraction >= 1) return false;
    temperature_ = cooling_.start * std::pow(cooling_.end / cooling_.start, fraction);
    if (++looks_ % kLooksPerCrowdCheck == 0) spread();
    return true;
  }

  // Adding next to a use needs free slots there; what was spread evenly does not stay so.
  void spread() {
    schedule_.load(schedule_.order());
    value_ = objective_.value(schedule_.seconds(), schedule_.peak());
  }

  void step() {
    const double limit = value_ - temperature_ * std::log(chain_.random.unit());
    proposer_.propose(schedule_, chain_.random, limit);
    if (!schedule_.changed()) return;
    const double value = objective_.value(schedule_.seconds(), schedule_.peak());
    if (value > limit) {
      schedule_.rollback();
      return;
    }
    schedule_.commit();
    value_ = value;
    if (offers_) keep();
  }

  void keep() {
    const Footprint now{schedule_.peak(), schedule_.seconds(), -1};
    const bool fits = now.peak <= objective_.budget();
    const bool kept_fits = kept_.peak <= objective_.budget();
    if (fits == kept_fits) {
      const double gain = fits
                              ? 1 - now.seconds / kept_.seconds
                              : 1 - static_cast<double>(now.peak) / static_cast<double>(kept_.peak);
      if (!(gain > kWorthKeeping)) return;
    } else if (kept_fits) {
      return;
    }
    chain_.best.offer(schedule_.order());
    kept_ = now;
  }

  Schedule& schedule_;
  Proposer& proposer_;
  const Objective& objective_;
  const Cooling& cooling_;
  Chain& chain_;
  bool offers_;
  double value_;
  double temperature_;
  Footprint kept_;
  Clock::time_point start_ = Clock::now();
  std::int64_t done_ = 0;
  std::int64_t reported_ = 0;
  std::int64_t looks_ = 0;
};

}  // namespace

Effort Effort::share(double fraction) const {
  Effort effort;
  if (iterations != effort.iterations) {
    effort.iterations = static_cast<std::int64_t>(static_cast<double>(iterations) * fraction);
  }
  if (seconds < kForever) effort.seconds = seconds * fraction;
  return effort;
}

void anneal(Schedule& schedule, Proposer& proposer, const Objective& objective,
            const Cooling& cooling, Chain& chain, bool offers) {
  Annealer(schedule, proposer, objective, cooling, chain, offers).run();
}

}  // namespace fastsa
