// Graph + budget -> plan: chains on threads, the best of them, checked.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/bound.h"
#include "core/minimum_budget.h"
#include "core/search.h"
#include "core/validate.h"

namespace fastsa {

struct Request {
  Bytes budget = 0;
  Algorithm algorithm = Algorithm::kPortfolio;
  Effort effort;  // iterations are per thread
  std::uint64_t seed = 0;
  int threads = 1;
  std::optional<Order> warm_start;  // a legal order to start from
};

struct Progress {
  bool fits = false;
  Bytes peak = 0;  // of the best so far
  Seconds seconds = 0;
  std::int64_t iterations = 0;
  Seconds elapsed = 0;
  double fraction = 0;
};

struct Answer {
  Order order;
  Claim claim;
  MinimumBudget minimum;
  Bound bound;
  std::int64_t iterations = 0;
  Seconds elapsed = 0;
};

// Called on the calling thread about a hundred times a second; false stops the search. May throw:
// the search then stops and the exception goes on.
using Monitor = std::function<bool(const Progress&)>;

// Throws BadRequest for a request that makes no sense, std::logic_error should the
// answer not pass the validator.
Answer solve(const Graph& graph, const Request& request, const Monitor& monitor);

// What an order found elsewhere amounts to: measured, with a bound computed within `limit` seconds,
// checked. An order above the budget is an answer too. Throws BadRequest for an illegal order.
Answer certify(const Graph& graph, const Order& order, Bytes budget, Seconds limit);

}  // namespace fastsa
