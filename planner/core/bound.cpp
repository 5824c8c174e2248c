#include "core/bound.h"

#include <algorithm>
#include <cmath>

#include "core/cut.h"
#include "core/just_in_time.h"

namespace fastsa {
namespace {

constexpr std::size_t kStarts = 4;
constexpr int kPrices = 14;          // per moment
constexpr int kEvenMoments = 10;     // sampled evenly over each segment
constexpr int kLargeMoments = 6;     // the first ops of a segment that touch more than any before
constexpr double kFirstPrice = 0.2;  // step times per unplanned peak
constexpr double kStride = 4;
constexpr std::int64_t kMostSolves = 2000;
constexpr const char* kAssumes =
    "the graph's op times, and nothing about the order: it holds for every legal plan";

struct Moment {
  OpId op;
  bool op_itself;
};

Bytes touched(const Graph& graph, OpId op) {
  Bytes bytes = graph.workspace(op);
  for (ValueId v : graph.inputs(op)) bytes += graph.bytes(v);
  for (ValueId v : graph.outputs(op)) bytes += graph.bytes(v);
  return bytes;
}

// Where a segment starts, its first large ops, and an even sample.
std::vector<Moment> moments_of(const Graph& graph, OpId first, OpId last) {
  std::vector<Moment> moments{{first, false}};
  Bytes most = 0;
  int large = 0;
  const OpId stride = std::max<OpId>(1, (last - first) / kEvenMoments);
  for (OpId op = first; op < last; ++op) {
    const Bytes bytes = touched(graph, op);
    const bool record = bytes > most && large < kLargeMoments;
    if (record) {
      most = bytes;
      ++large;
    }
    if (record || (op - first) % stride == stride / 2) moments.push_back({op, true});
  }
  return moments;
}

// The starts of all segments first: together they say what each region drops.
std::vector<Moment> all_moments(const Graph& graph) {
  std::vector<Moment> starts;
  std::vector<Moment> others;
  for (OpId first = 0; first < graph.ops();) {
    OpId last = first;
    while (last < graph.ops() && graph.segment(last) == graph.segment(first)) ++last;
    if (graph.segment(first) > 0 || last == graph.ops()) {
      const auto these = moments_of(graph, first, last);
      starts.push_back(these.front());
      others.insert(others.end(), these.begin() + 1, these.end());
    }
    first = last;
  }
  starts.insert(starts.end(), others.begin(), others.end());
  return starts;
}

class Explorer {
 public:
  Explorer(const Objective& objective, const Effort& effort, Chain& chain)
      : objective_(objective),
        effort_(effort),
        chain_(chain),
        graph_(chain.best.graph()),
        base_(simulate(graph_, graph_.base_order().sequence)),
        price_(kFirstPrice * base_.seconds / static_cast<double>(std::max<Bytes>(base_.peak, 1))) {}

  Cuts run() {
    for (const Moment& moment : all_moments(graph_)) {
      if (over()) break;
      if (moment.op_itself && !together_.empty()) keep_together();
      explore(moment);
    }
    if (!together_.empty()) keep_together();
    return std::move(cuts_);
  }

 private:
  bool over() const {
    return solves_ >= kMostSolves || chain_.stop.now() || seconds_since(start_) >= effort_.seconds;
  }

  // Raises the price until what is kept fits, lowers it until it does not, then closes in.
  void explore(const Moment& moment) {
    CutAt at(graph_, moment.op, moment.op_itself, objective_.budget());
    if (at.room() < 0 || at.wanted() <= at.room()) return;
    double price = price_;
    double low = 0;
    double high = 0;
    double best = -1;
    std::vector<char> fitting;  // what the lowest price drops that keeps few enough
    Start start{{}, std::numeric_limits<double>::infinity()};
    for (int i = 0; i < kPrices && !over(); ++i) {
      const Cut cut = at.solve(price, chain_.stop);
      if (!cut.complete) break;
      ++solves_;
      take(cut, start);
      if (!moment.op_itself && cut.kept <= at.room()) fitting = cut.dropped;
      if (cut.bound > best) {
        best = cut.bound;
        price_ = price;
      }
      (cut.kept > at.room() ? low : high) = price;
      if (low > 0 && high > 0 && high / low < 1.01) break;
      price = high == 0 ? low * kStride : low == 0 ? high / kStride : std::sqrt(low * high);
    }
    keep(std::move(start));
    if (!fitting.empty()) join(fitting);
  }

  void join(const std::vector<char>& dropped) {
    if (together_.empty()) together_.assign(dropped.size(), 0);
    for (std::size_t v = 0; v < dropped.size(); ++v) together_[v] |= dropped[v];
    ++joined_;
  }

  // With several regions no moment sees what all of them have to drop.
  void keep_together() {
    if (joined_ > 1) keep(start_from(together_));
    together_.clear();
  }

  Start start_from(const std::vector<char>& dropped) const {
    Order order = just_in_time(graph_, dropped);
    const Footprint footprint = simulate(graph_, order.sequence);
    return {std::move(order), objective_.value(footprint.seconds, footprint.peak)};
  }

  void take(const Cut& cut, Start& best) {
    if (cut.bound > cuts_.bound.seconds) cuts_.bound = {cut.bound, kAssumes};
    Start start = start_from(cut.dropped);
    if (start.value < best.value) best = std::move(start);
  }

  // One start per moment at most: starts of neighbouring prices lead to the same place.
  void keep(Start start) {
    auto& starts = cuts_.starts;
    const auto place = std::ranges::upper_bound(starts, start.value, {}, &Start::value);
    const auto same = [&](const Start& other) { return other.value == start.value; };
    if (start.order.sequence.empty() || std::ranges::any_of(starts, same)) return;
    chain_.best.offer(start.order);
    starts.insert(place, std::move(start));
    if (starts.size() > kStarts) starts.pop_back();
  }

  const Objective& objective_;
  const Effort& effort_;
  Chain& chain_;
  const Graph& graph_;
  Footprint base_;
  double price_;  // where the last moment's search ended: the next starts there
  Clock::time_point start_ = Clock::now();
  std::int64_t solves_ = 0;
  std::vector<char> together_;  // dropped at the start of any segment
  int joined_ = 0;
  Cuts cuts_;
};

}  // namespace

Cuts explore_cuts(const Objective& objective, const Effort& effort, Chain& chain) {
  return Explorer(objective, effort, chain).run();
}

}  // namespace fastsa
