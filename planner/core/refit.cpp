#include "core/refit.h"

#include <algorithm>
#include <utility>

#include "core/simulate.h"

namespace fastsa {
namespace {

constexpr int kPrices = 30;
constexpr int kMostMoments = 200;

// When the runs of an order are, seen from the moment of one of them. Recomputations that neither
// it nor a first run before it needs may as well come later.
std::vector<When> when_around(const Unrolled& unrolled, Position position) {
  const Graph& graph = unrolled.graph;
  std::vector<When> when(static_cast<std::size_t>(graph.ops()), When::kAfter);
  for (Position k = 0; k < position; ++k) {
    when[k] = unrolled.again[k] ? When::kUnknown : When::kBefore;
  }
  for (ValueId v : graph.inputs(position)) when[graph.producer(v)] = When::kBefore;
  for (Position k = position; k-- > 0;) {
    if (when[k] != When::kBefore) continue;
    for (ValueId v : graph.inputs(k)) when[graph.producer(v)] = When::kBefore;
  }
  return when;
}

}  // namespace

std::optional<Order> Refit::run(const Order& order, Position position, double price, double noise,
                                Random& random) {
  price_ = price;
  weights_.clear();
  for (OpId op = 0; op < graph_.ops(); ++op) {
    weights_.push_back(1 + noise * (2 * random.unit() - 1));
  }
  order_ = order;
  for (int moments = 0; position >= 0; ++moments) {
    if (moments == kMostMoments || over() || !plan_from(position, moments == 0)) return {};
    position = first_above(at_);
  }
  return std::move(order_);
}

bool Refit::plan_from(Position position, bool first) {
  strip_after(position);
  if (!countable()) return false;
  const Unrolled unrolled = unroll(graph_, order_, weights_);
  const std::vector<When> when = when_around(unrolled, position);
  // From where planning starts all may be kept, also what has been dropped before.
  Moment moment{position, true, when, {}};
  if (!first) moment.gone = gone(unrolled, position);
  CutAt at(unrolled.graph, std::move(moment), budget_);
  if (at.room() < 0) return false;
  const std::optional<Cut> cut = best_cut(at);
  if (!cut) return false;
  rebuild(unrolled, when, *cut, position);
  return true;
}

// Whether the bytes of all instances together are no more than a graph may hold.
bool Refit::countable() const {
  double bytes = 0;
  for (OpId op : order_.sequence) {
    for (ValueId v : graph_.outputs(op)) bytes += static_cast<double>(graph_.bytes(v));
  }
  return bytes < static_cast<double>(kMostBytes);
}

// Takes the recomputations after `position` out, and notes what they kept alive at it.
void Refit::strip_after(Position position) {
  wanted_.assign(static_cast<std::size_t>(graph_.values()), 0);
  for (ValueId v = 0; v < graph_.values(); ++v) wanted_[v] = graph_.is_output(v);
  for (auto k = static_cast<Position>(order_.sequence.size()); k-- > position;) {
    for (ValueId v : graph_.outputs(order_.sequence[k])) wanted_[v] = 0;
    for (ValueId v : graph_.inputs(order_.sequence[k])) wanted_[v] = 1;
  }
  std::vector<char> ran(static_cast<std::size_t>(graph_.ops()), 0);
  made_ = {};
  for (Position k = 0; k < static_cast<Position>(order_.sequence.size()); ++k) {
    start_segments(k);
    const OpId op = order_.sequence[k];
    if (k > position && ran[op]) continue;
    ran[op] = 1;
    made_.sequence.push_back(op);
  }
  start_segments(static_cast<Position>(order_.sequence.size()));
  std::swap(order_, made_);
}

// Starts the made order's segments that start in the order at `position` or before.
void Refit::start_segments(Position position) {
  const auto& starts = order_.segment_starts;
  for (auto& made = made_.segment_starts; made.size() < starts.size();) {
    if (starts[made.size()] > position) return;
    made.push_back(static_cast<Position>(made_.sequence.size()));
  }
}

// By instance: dropped before the moment.
std::vector<char> Refit::gone(const Unrolled& unrolled, Position position) const {
  std::vector<char> gone(unrolled.original.size(), 0);
  std::vector<char> superseded(static_cast<std::size_t>(graph_.values()), 0);
  for (ValueId i = unrolled.graph.values(); i-- > 0;) {
    if (unrolled.graph.producer(i) >= position) continue;
    const ValueId v = unrolled.original[i];
    gone[i] = superseded[v] || !wanted_[v];
    superseded[v] = 1;
  }
  return gone;
}

std::optional<Cut> Refit::best_cut(CutAt& at) {
  PriceSearch search(price_, at.room());
  for (int i = 0; i < kPrices && !search.done(); ++i) {
    --cuts_left_;
    Cut cut = at.solve(search.price(), stop_);
    if (!cut.complete) return {};
    search.take(std::move(cut));
  }
  return std::move(search.fitting());
}

void Refit::rebuild(const Unrolled& unrolled, const std::vector<When>& when, const Cut& cut,
                    Position position) {
  const auto comes_later = [&](Position k) {
    if (when[k] != When::kUnknown || !cut.later[k]) return false;
    return std::ranges::all_of(unrolled.graph.outputs(k), [&](ValueId i) {
      return std::ranges::all_of(unrolled.graph.consumers(i), [&](Position reader) {
        return reader >= position || cut.later[reader];
      });
    });
  };
  made_ = {};
  available_.assign(static_cast<std::size_t>(graph_.values()), 0);
  for (Position k = 0; k < position; ++k) {
    start_segments(k);
    if (!comes_later(k)) run(order_.sequence[k]);
  }
  start_segments(position);
  at_ = static_cast<Position>(made_.sequence.size());
  run(order_.sequence[position]);
  forget(unrolled, cut, position);
  for (Position k = position + 1; k < static_cast<Position>(order_.sequence.size()); ++k) {
    start_segments(k);
    make(order_.sequence[k], static_cast<SegmentId>(made_.segment_starts.size()) - 1);
  }
  start_segments(static_cast<Position>(order_.sequence.size()));
  std::swap(order_, made_);
}

void Refit::run(OpId op) {
  made_.sequence.push_back(op);
  for (ValueId v : graph_.outputs(op)) available_[v] = 1;
}

// What the cut drops is not there after the moment.
void Refit::forget(const Unrolled& unrolled, const Cut& cut, Position position) {
  std::vector<char> superseded(static_cast<std::size_t>(graph_.values()), 0);
  for (ValueId i = unrolled.graph.values(); i-- > 0;) {
    if (unrolled.graph.producer(i) > position) continue;
    const ValueId v = unrolled.original[i];
    if (!superseded[v] && cut.dropped[i]) available_[v] = 0;
    superseded[v] = 1;
  }
}

// Runs an op, and before it what makes its missing inputs.
void Refit::make(OpId root, SegmentId segment) {
  stack_.assign(1, root);
  while (!stack_.empty()) {
    const OpId op = stack_.back();
    const std::size_t before = stack_.size();
    for (ValueId v : graph_.inputs(op)) {
      if (missing(v, segment)) stack_.push_back(graph_.producer(v));
    }
    if (stack_.size() > before) continue;
    stack_.pop_back();
    const bool there =
        std::ranges::all_of(graph_.outputs(op), [&](ValueId v) { return available_[v] != 0; });
    if (op == root || !there) run(op);
  }
}

bool Refit::missing(ValueId value, SegmentId segment) const {
  const OpId op = graph_.producer(value);
  return !available_[value] && graph_.recomputable(op) &&
         graph_.region(op) == graph_.segment_region(segment);
}

// The first position after `after` that is above the budget, or -1.
Position Refit::first_above(Position after) const {
  const std::vector<Bytes> bytes = profile(graph_, order_.sequence);
  for (auto k = static_cast<std::size_t>(after) + 1; k < bytes.size(); ++k) {
    if (bytes[k] > budget_) return static_cast<Position>(k);
  }
  return -1;
}

}  // namespace fastsa
