#include "core/portfolio.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/clean.h"
#include "core/closure_moves.h"
#include "core/refit.h"
#include "core/search.h"

namespace fastsa {
namespace {

// Temperatures. Of the step time for an unplanned order, as published; where ops are few and so
// each is much of the step, of an op's time.
constexpr double kColdOfStep = 1e-3;
constexpr double kColdOfOp = 0.5;
constexpr double kWarmOfCold = 0.1;  // for an order that is good already
constexpr double kCoolingRatio = 1e-4;

// Of the step time: a gap to the bound that is none.
constexpr double kRounding = 1e-10;

constexpr Slot kRoominess = 8;

// Going over the budget by all of the unplanned peak costs this many step times.
constexpr double kPricePerPeak = 4;

// Shares of the effort.
constexpr double kForBound = 0.1;
constexpr Seconds kForBoundAtLeast = 0.1;
constexpr double kForRefits = 0.15;
constexpr double kForPublished = 0.08;
constexpr double kForPublishedAlone = 0.4;  // of one segment: order is all there is to choose
constexpr double kForFirstFit = 0.04;
constexpr double kForRound = 0.14;                // of the tournament
constexpr double kForRefining[] = {0.3, 0.6, 1};  // of what is left

// Equal layers tie until noise of this share of an op's time tells them apart.
constexpr double kLeastNoise = 1e-3;
constexpr double kMostNoise = 0.3;
constexpr int kRefits = 100;
constexpr std::int64_t kMostCuts = 10'000;
constexpr std::int64_t kIterationsPerCut = 20;  // what takes as long, about
constexpr OpId kLargestRefit = 20'000;
constexpr std::size_t kKeptRefits = 12;

Objective penalty(const Graph& graph, Bytes budget) {
  const Footprint base = simulate(graph, graph.base_order().sequence);
  return Objective::penalty(budget, kPricePerPeak * base.seconds / static_cast<double>(base.peak));
}

// Where to plan the unplanned order anew from: where segments start, and where it is the most.
std::vector<Position> refit_positions(const Graph& graph) {
  const Order base = graph.base_order();
  std::vector<Position> positions{simulate(graph, base.sequence).peak_position};
  for (Position start : base.segment_starts) {
    if (start > 0 && start < graph.ops()) positions.push_back(start);
  }
  std::ranges::sort(positions);
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

class Portfolio {
 public:
  Portfolio(const Effort& effort, Chain& chain)
      : effort_(effort),
        chain_(chain),
        graph_(chain.best.graph()),
        objective_(penalty(graph_, chain.best.budget())),
        cold_((graph_.total_seconds() > 0 ? graph_.total_seconds() : 1) *
              std::max(kColdOfStep, kColdOfOp / std::max<double>(1, graph_.ops()))) {}

  Bound run() {
    const Order& given = chain_.best.order();
    if (given.sequence != graph_.base_order().sequence) enter(given);
    Cuts cuts = explore_cuts(objective_, for_bound(), chain_);
    bound_ = cuts.bound;
    refit_base(cuts.price);
    if (!optimal()) {
      for (Start& start : cuts.starts) enter(std::move(start.order));
      entries_.push_back({graph_.base_order(), 0, cold_});
      if (!chain_.best.fits()) anneal_entry(entries_.back(), share(kForFirstFit));
      search_as_published(share(graph_.segments() > 1 ? kForPublished : kForPublishedAlone),
                          chain_);
      enter(chain_.best.order());
      hold_tournament();
      refine();
    }
    clean(chain_.best, chain_.stop);
    return bound_;
  }

 private:
  struct Entry {
    Order order;
    double value;  // of the objective
    double temperature;
  };

  Effort share(double fraction) const {
    Effort effort = effort_.share(fraction);
    if (effort_.seconds < kForever) {
      effort.seconds = std::min(effort.seconds, std::max(0.0, chain_.stop.left()));
    }
    return effort;
  }

  // A short search can do with less searching rather than with a loose bound.
  Effort for_bound() const {
    Effort effort = share(kForBound);
    if (effort_.seconds < kForever) {
      const Seconds left = std::max(0.0, chain_.stop.left());
      effort.seconds = std::max(effort.seconds, std::min(kForBoundAtLeast, left / 2));
    }
    return effort;
  }

  bool optimal() const {
    const Seconds base = graph_.total_seconds();
    return chain_.best.fits() &&
           chain_.best.footprint().seconds - base <= bound_.seconds + kRounding * base;
  }

  void enter(Order order) {
    const Footprint footprint = simulate(graph_, order.sequence);
    const double value = objective_.value(footprint.seconds, footprint.peak);
    const auto same = [value](const Entry& other) { return other.value == value; };
    if (std::ranges::none_of(entries_, same)) {
      entries_.push_back({std::move(order), value, kWarmOfCold * cold_});
    }
  }

  // What minimum cuts with noisy op times make of the unplanned order; the best few are entered.
  void refit_base(double price) {
    if (graph_.ops() > kLargestRefit || price <= 0) return;
    const Effort effort = share(kForRefits);
    Refit refit(graph_, chain_.best.budget(), effort.seconds,
                std::min(kMostCuts, effort.iterations / kIterationsPerCut), chain_.stop);
    const Order base = graph_.base_order();
    const std::vector<Position> positions = refit_positions(graph_);
    for (int i = 0; i < kRefits && !refit.over(); ++i) {
      const double noise = kLeastNoise * std::pow(kMostNoise / kLeastNoise, chain_.random.unit());
      auto order = refit.run(base, positions[i % positions.size()], price, noise, chain_.random);
      if (!order) continue;
      if (chain_.best.offer(*order)) clean(chain_.best, chain_.stop);
      enter(std::move(*order));
      drop_worst(kKeptRefits);
    }
  }

  void drop_worst(std::size_t kept) {
    std::ranges::stable_sort(entries_, {}, &Entry::value);
    if (entries_.size() > kept) entries_.resize(kept);
  }

  // Anneals every start a while, the better half of them twice as long, until one is left.
  void hold_tournament() {
    while (!entries_.empty() && !optimal() && !chain_.stop.now()) {
      const double fraction = kForRound / static_cast<double>(entries_.size());
      for (Entry& entry : entries_) anneal_entry(entry, share(fraction));
      if (entries_.size() == 1) break;
      drop_worst((entries_.size() + 1) / 2);
    }
  }

  void anneal_entry(Entry& entry, const Effort& effort) {
    if (chain_.stop.now()) return;
    Schedule schedule(graph_, entry.order, kRoominess);
    ClosureMoves moves(graph_, chain_.best.budget());
    const Cooling cooling{entry.temperature, entry.temperature * kCoolingRatio, effort};
    anneal(schedule, moves, objective_, cooling, chain_);
    entry = {schedule.order(), objective_.value(schedule.seconds(), schedule.peak()),
             kWarmOfCold * cold_};
  }

  void refine() {
    for (const double fraction : kForRefining) {
      if (chain_.exchange) chain_.exchange->trade(chain_.best);
      if (optimal() || chain_.stop.now()) return;
      clean(chain_.best, chain_.stop);
      Effort effort = share(kForRound);
      if (effort_.seconds < kForever) effort.seconds = chain_.stop.left() * fraction;
      Entry best{chain_.best.order(), 0, kWarmOfCold * cold_};
      anneal_entry(best, effort);
    }
  }

  const Effort& effort_;
  Chain& chain_;
  const Graph& graph_;
  Objective objective_;
  double cold_;  // temperature to start from
  Bound bound_;
  std::vector<Entry> entries_;
};

}  // namespace

bool nothing_to_gain(const Chain& chain) {
  const Seconds base = chain.best.graph().total_seconds();
  return chain.best.fits() && chain.best.footprint().seconds <= base * (1 + kRounding);
}

Bound bound_only(const Effort& effort, Chain& chain) {
  if (nothing_to_gain(chain)) return {};
  const Objective objective = penalty(chain.best.graph(), chain.best.budget());
  return explore_cuts(objective, effort, chain).bound;
}

Bound search_portfolio(const Effort& effort, Chain& chain) {
  return Portfolio(effort, chain).run();
}

}  // namespace fastsa
