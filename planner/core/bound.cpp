#include "core/bound.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "core/cut.h"
#include "core/just_in_time.h"

namespace fastsa {
namespace {

constexpr std::size_t kStarts = 4;
constexpr int kPrices = 24;          // per moment, at most: most need fewer than ten
constexpr int kEvenMoments = 24;     // sampled evenly over each segment
constexpr double kFirstPrice = 0.2;  // step times per unplanned peak
constexpr double kStride = 4;
constexpr double kSame = 1e-9;      // relative
constexpr double kScreening = 0.5;  // of the time
constexpr std::int64_t kMostSolves = 1000;
constexpr const char* kAssumes =
    "the graph's op times, and nothing about the order: it holds for every legal plan";

// By op: what the unplanned order holds while it runs that its own segment made, and what it
// touches. The rest is for a plan to keep or not.
std::vector<Bytes> held_bytes(const Graph& graph) {
  std::vector<OpId> last(static_cast<std::size_t>(graph.values()), kNoOp);
  for (OpId op = 0; op < graph.ops(); ++op) {
    for (ValueId v : graph.inputs(op)) last[v] = op;
    for (ValueId v : graph.outputs(op)) last[v] = op;
  }
  std::vector<Bytes> held(static_cast<std::size_t>(graph.ops()));
  Bytes alive = 0;
  for (OpId op = 0; op < graph.ops(); ++op) {
    const SegmentId segment = graph.segment(op);
    if (op > 0 && segment != graph.segment(op - 1)) alive = 0;
    for (ValueId v : graph.outputs(op)) alive += graph.bytes(v);
    held[op] = alive + graph.workspace(op);
    for (ValueId v : graph.inputs(op)) {
      const bool made_here = graph.segment(graph.producer(v)) == segment;
      if (!made_here) held[op] += graph.bytes(v);
      if (made_here && last[v] == op && !graph.is_output(v)) alive -= graph.bytes(v);
    }
    for (ValueId v : graph.outputs(op)) {
      if (last[v] == op && !graph.is_output(v)) alive -= graph.bytes(v);
    }
  }
  return held;
}

// The first ops that hold more than any before in their segment, and an even sample. Those that
// hold the most of what comes early bind: late, there is little left to keep.
std::vector<OpId> moments_of(const std::vector<Bytes>& held, OpId first, OpId last) {
  std::vector<OpId> moments;
  Bytes most = 0;
  const OpId stride = std::max<OpId>(1, (last - first) / kEvenMoments);
  for (OpId op = first; op < last; ++op) {
    const bool record = held[op] > most;
    most = std::max(most, held[op]);
    if (record || (op - first) % stride == stride / 2) moments.push_back(op);
  }
  return moments;
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
    find_moments();
    for (const OpId op : starts_) explore(Moment::start(graph_, op));
    if (!together_.empty()) keep_together();
    for (const OpId op : screened()) explore(Moment::first_run(graph_, op));
    cuts_.price = price_;
    add_up_regions();
    return std::move(cuts_);
  }

 private:
  bool over(double share = 1) const {
    return static_cast<double>(solves_) >= share * static_cast<double>(kMostSolves) ||
           chain_.stop.now() || seconds_since(start_) >= share * effort_.seconds;
  }

  // A graph's first segment has nothing to recompute when it starts; alone, it is looked into.
  void find_moments() {
    const std::vector<Bytes> held = held_bytes(graph_);
    for (OpId first = 0; first < graph_.ops();) {
      OpId last = first;
      while (last < graph_.ops() && graph_.segment(last) == graph_.segment(first)) ++last;
      if (first > 0 || last == graph_.ops()) {
        starts_.push_back(first);
        const auto within = moments_of(held, first, last);
        within_.insert(within_.end(), within.begin(), within.end());
      }
      first = last;
    }
  }

  // The moments within segments, those first that bind most at the price found so far.
  std::vector<OpId> screened() {
    std::vector<std::pair<double, std::size_t>> values;
    for (std::size_t i = 0; i < within_.size() && !over(kScreening); ++i) {
      CutAt at(graph_, Moment::first_run(graph_, within_[i]), objective_.budget());
      if (at.room() < 0 || at.wanted() <= at.room()) continue;
      const Cut cut = at.solve(price_, chain_.stop);
      if (!cut.complete) break;
      ++solves_;
      bound_by(cut, at.region());
      values.emplace_back(-cut.bound, i);
    }
    std::ranges::sort(values);
    std::vector<OpId> moments;
    for (const auto& [value, i] : values) moments.push_back(within_[i]);
    return moments;
  }

  void explore(Moment moment) {
    if (over()) return;
    const bool running = moment.running;
    CutAt at(graph_, std::move(moment), objective_.budget());
    if (at.room() < 0 || at.wanted() <= at.room()) return;
    PriceSearch search(price_, at.room());
    double best = -1;
    Start start{{}, std::numeric_limits<double>::infinity()};
    for (int i = 0; i < kPrices && !search.done() && !over(); ++i) {
      const double price = search.price();
      Cut cut = at.solve(price, chain_.stop);
      if (!cut.complete) break;
      ++solves_;
      bound_by(cut, at.region());
      take(cut, start);
      if (cut.bound > best) {
        best = cut.bound;
        price_ = price;
      }
      search.take(std::move(cut));
    }
    keep(std::move(start));
    if (!running && search.fitting()) join(search.fitting()->dropped);
  }

  void bound_by(const Cut& cut, std::optional<RegionId> region) {
    if (cut.bound > cuts_.bound.seconds) cuts_.bound = {cut.bound, kAssumes};
    if (region) regions_[*region] = std::max(regions_[*region], cut.bound);
  }

  // What one region at least recomputes, no other region does for it.
  void add_up_regions() {
    Seconds sum = 0;
    for (const auto& [region, seconds] : regions_) sum += seconds;
    if (sum > cuts_.bound.seconds) cuts_.bound = {sum, kAssumes};
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
  std::vector<OpId> starts_;  // of segments: the first op
  std::vector<OpId> within_;
  std::map<RegionId, Seconds> regions_;  // by region: the bound on what is recomputed of it
  std::vector<char> together_;           // dropped at the start of any segment
  int joined_ = 0;
  Cuts cuts_;
};

}  // namespace

Cuts explore_cuts(const Objective& objective, const Effort& effort, Chain& chain) {
  return Explorer(objective, effort, chain).run();
}

}  // namespace fastsa
