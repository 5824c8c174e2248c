// The best order one chain of the search has found so far.
#pragma once

#include <atomic>

#include "core/simulate.h"

namespace fastsa {

// Within the budget the faster is better, above it the one with the lower peak.
bool better(const Footprint& a, const Footprint& b, Bytes budget);

class Incumbent {
 public:
  Incumbent(const Graph& graph, Bytes budget);  // starts with the unplanned order

  // Keeps `order` if it is better. Measures it by the memory model, whatever the search believes.
  bool offer(const Order& order);

  const Order& order() const { return order_; }
  const Footprint& footprint() const { return footprint_; }
  bool fits() const { return footprint_.peak <= budget_; }
  Bytes budget() const { return budget_; }
  const Graph& graph() const { return graph_; }

  // To be read from other threads, for progress only.
  Bytes seen_peak() const { return seen_peak_.load(std::memory_order_relaxed); }
  Seconds seen_seconds() const { return seen_seconds_.load(std::memory_order_relaxed); }

 private:
  void show();

  const Graph& graph_;
  Bytes budget_;
  Order order_;
  Footprint footprint_;
  std::atomic<Bytes> seen_peak_;
  std::atomic<Seconds> seen_seconds_;
};

}  // namespace fastsa
