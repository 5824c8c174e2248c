// The rest of an order planned anew, moment by moment: at each that is above the budget, what a
// minimum cut keeps is kept and the rest is made again just in time.
#pragma once

#include <optional>
#include <vector>

#include "core/cut.h"
#include "core/random.h"
#include "core/unroll.h"

namespace fastsa {

class Refit {
 public:
  // `limit`: seconds all runs may take; `cuts`: how many minimum cuts.
  Refit(const Graph& graph, Bytes budget, Seconds limit, std::int64_t cuts, const Stop& stop)
      : graph_(graph), budget_(budget), limit_(limit), cuts_left_(cuts), stop_(stop) {}

  bool over() const { return stop_.now() || cuts_left_ <= 0 || seconds_since(begin_) >= limit_; }

  // Plans `order` anew from `position` on; what runs before stays, but for recomputations that may
  // as well come later. Nothing if there is nothing to choose at a moment that fits, or the time is
  // up. Where what a cut wants made later cannot be, and before `position`, the order may still be
  // above the budget: it is a start for a search all the same.
  //
  // `price`: seconds per byte, to start from. `noise`: op times count as up to this share more or
  // less. Equal layers tie, and a cut keeps all of them or none: with noise it keeps some.
  std::optional<Order> run(const Order& order, Position position, double price, double noise,
                           Random& random);

 private:
  bool plan_from(Position position, bool first);
  bool countable() const;
  void strip_after(Position position);
  void start_segments(Position position);
  std::vector<char> gone(const Unrolled& unrolled, Position position) const;
  std::optional<Cut> best_cut(CutAt& at);
  void rebuild(const Unrolled& unrolled, const std::vector<When>& when, const Cut& cut,
               Position position);
  void forget(const Unrolled& unrolled, const Cut& cut, Position position);
  void make(OpId root, SegmentId segment);
  void run(OpId op);
  bool missing(ValueId value, SegmentId segment) const;
  Position first_above(Position after) const;

  const Graph& graph_;
  Bytes budget_;
  Seconds limit_;
  std::int64_t cuts_left_;
  Clock::time_point begin_ = Clock::now();
  const Stop& stop_;
  double price_ = 0;
  std::vector<double> weights_;  // by op: of its time
  Order order_;
  Position at_ = 0;              // where the moment's run is in the order as rebuilt
  std::vector<char> wanted_;     // by value: alive at the moment, before it was planned anew
  std::vector<char> available_;  // by value: there, as far as the new order is made
  std::vector<OpId> stack_;
  Order made_;
};

}  // namespace fastsa
