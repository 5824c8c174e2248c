#include "core/incumbent.h"

namespace fastsa {

bool better(const Footprint& a, const Footprint& b, Bytes budget) {
  const bool a_fits = a.peak <= budget;
  const bool b_fits = b.peak <= budget;
  if (a_fits != b_fits) return a_fits;
  if (a_fits) return a.seconds != b.seconds ? a.seconds < b.seconds : a.peak < b.peak;
  return a.peak != b.peak ? a.peak < b.peak : a.seconds < b.seconds;
}

Incumbent::Incumbent(const Graph& graph, Bytes budget)
    : graph_(graph),
      budget_(budget),
      order_(graph.base_order()),
      footprint_(simulate(graph, order_.sequence)) {
  show();
}

bool Incumbent::offer(const Order& order) {
  const Footprint footprint = simulate(graph_, order.sequence);
  if (!better(footprint, footprint_, budget_)) return false;
  order_ = order;
  footprint_ = footprint;
  show();
  return true;
}

void Incumbent::show() {
  seen_peak_.store(footprint_.peak, std::memory_order_relaxed);
  seen_seconds_.store(footprint_.seconds, std::memory_order_relaxed);
}

}  // namespace fastsa
