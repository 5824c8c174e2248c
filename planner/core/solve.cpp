#include "core/solve.h"

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "core/portfolio.h"

namespace fastsa {
namespace {

constexpr double kRounding = 1e-10;  // of the step time: below the validator's tolerance
constexpr auto kTick = std::chrono::milliseconds(10);

void check(const Graph& graph, const Order& order, const char* what) {
  const Verdict verdict = validate(graph, order);
  if (verdict.ok()) return;
  throw BadRequest(std::string(what) + ": position " + std::to_string(verdict.position) + ": " +
                   describe(verdict.reason));
}

void check(const Graph& graph, const Request& request) {
  if (request.threads < 1 || request.threads > 1024) {
    throw BadRequest("threads: not between 1 and 1024");
  }
  if (request.effort.iterations < 0) throw BadRequest("iterations: negative");
  if (!(request.effort.seconds >= 0)) throw BadRequest("time limit: not a time");
  if (request.effort.seconds == kForever &&
      request.effort.iterations == std::numeric_limits<std::int64_t>::max()) {
    throw BadRequest("neither a time limit nor a number of iterations");
  }
  if (request.warm_start) check(graph, *request.warm_start, "warm start");
}

Status judge(const Claim& claim) {
  if (claim.peak > claim.budget) return Status::kNotFound;
  const Seconds gap = claim.seconds - claim.base_seconds - claim.lower_bound;
  return gap <= kRounding * claim.base_seconds ? Status::kOptimal : Status::kFeasible;
}

// Without an order: the budget cannot be met.
Answer describe(const Graph& graph, Bytes budget, const MinimumBudget& minimum, const Bound& bound,
                const Order* order) {
  const Footprint base = simulate(graph, graph.base_order().sequence);
  Answer answer;
  answer.minimum = minimum;
  answer.bound = bound;
  answer.claim.budget = budget;
  answer.claim.base_peak = base.peak;
  answer.claim.base_seconds = base.seconds;
  answer.claim.minimum_budget = minimum.bytes;
  answer.claim.lower_bound = bound.seconds;
  if (order) {
    const Footprint footprint = simulate(graph, order->sequence);
    answer.order = *order;
    answer.claim.peak = footprint.peak;
    answer.claim.seconds = footprint.seconds;
    answer.claim.status = judge(answer.claim);
  } else {
    answer.order.segment_starts.assign(static_cast<std::size_t>(graph.segments()), 0);
    answer.claim.status = Status::kInfeasible;
  }
  const Verdict verdict = validate(graph, answer.order, answer.claim);
  if (!verdict.ok()) {
    throw std::logic_error("the planner made an illegal plan: position " +
                           std::to_string(verdict.position) + ": " + describe(verdict.reason));
  }
  return answer;
}

class Solver {
 public:
  Solver(const Graph& graph, const Request& request, const Monitor& monitor)
      : graph_(graph),
        request_(request),
        monitor_(monitor),
        stop_(request.effort.seconds),
        exchange_(graph, request.budget),
        effort_(request.effort) {
    // With iterations given the answer must not depend on the clock: it is only the deadline then.
    if (effort_.iterations != Effort{}.iterations) effort_.seconds = kForever;
    minimum_ = minimum_budget(graph);
  }

  Answer run() {
    if (request_.budget >= minimum_.bytes) search_on_threads();
    const Incumbent* found = best();
    Answer answer =
        describe(graph_, request_.budget, minimum_, bound_, found ? &found->order() : nullptr);
    for (const auto& chain : chains_) answer.iterations += chain->iterations.load();
    answer.elapsed = stop_.elapsed();
    return answer;
  }

 private:
  void search_on_threads() {
    // The first chain's seed does not depend on the number of chains.
    for (int i = 0; i < request_.threads; ++i) {
      const std::uint64_t seed = request_.seed * 0x100000001b3U + static_cast<std::uint64_t>(i);
      Exchange* exchange = request_.threads > 1 ? &exchange_ : nullptr;
      chains_.push_back(std::make_unique<Chain>(graph_, request_.budget, seed, stop_, exchange));
      if (request_.warm_start) chains_.back()->best.offer(*request_.warm_start);
    }
    running_ = request_.threads;
    std::vector<std::jthread> threads;
    const StopOnExit stop_on_exit{stop_};  // goes before the threads are joined
    for (auto& chain : chains_) threads.emplace_back([this, &chain] { work(*chain); });
    watch();
    threads.clear();
    if (failure_) std::rethrow_exception(failure_);
  }

  struct StopOnExit {
    Stop& stop;
    ~StopOnExit() { stop.cancel(); }
  };

  void work(Chain& chain) {
    std::exception_ptr failure;
    try {
      const Bound bound = search(request_.algorithm, effort_, chain);
      const std::lock_guard lock(mutex_);
      if (bound.seconds > bound_.seconds) bound_ = bound;
    } catch (...) {
      failure = std::current_exception();
      stop_.cancel();
    }
    const std::lock_guard lock(mutex_);
    if (failure) failure_ = failure;
    --running_;
    changed_.notify_one();
  }

  void watch() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kTick, [this] { return running_ == 0; })) {
      lock.unlock();
      if (monitor_ && !monitor_(progress())) stop_.cancel();
      lock.lock();
    }
  }

  Progress progress() const {
    Progress progress;
    Footprint best;
    for (std::size_t i = 0; i < chains_.size(); ++i) {
      const Incumbent& incumbent = chains_[i]->best;
      const Footprint seen{incumbent.seen_peak(), incumbent.seen_seconds(), -1};
      if (i == 0 || better(seen, best, request_.budget)) best = seen;
      progress.iterations += chains_[i]->iterations.load(std::memory_order_relaxed);
    }
    progress.fits = best.peak <= request_.budget;
    progress.peak = best.peak;
    progress.seconds = best.seconds;
    progress.elapsed = stop_.elapsed();
    const double by_iterations = static_cast<double>(progress.iterations) /
                                 static_cast<double>(request_.effort.iterations) /
                                 static_cast<double>(request_.threads);
    progress.fraction =
        std::min(1.0, std::max(by_iterations, progress.elapsed / request_.effort.seconds));
    return progress;
  }

  const Incumbent* best() const {
    const Incumbent* best = nullptr;
    for (const auto& chain : chains_) {
      if (!best || better(chain->best.footprint(), best->footprint(), request_.budget)) {
        best = &chain->best;
      }
    }
    return best;
  }

  const Graph& graph_;
  const Request& request_;
  const Monitor& monitor_;
  Stop stop_;
  Exchange exchange_;
  Effort effort_;
  MinimumBudget minimum_;
  Bound bound_;
  std::vector<std::unique_ptr<Chain>> chains_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int running_ = 0;
  std::exception_ptr failure_;
};

}  // namespace

Answer solve(const Graph& graph, const Request& request, const Monitor& monitor) {
  check(graph, request);
  return Solver(graph, request, monitor).run();
}

Answer certify(const Graph& graph, const Order& order, Bytes budget, Seconds limit) {
  check(graph, order, "order");
  const MinimumBudget minimum = minimum_budget(graph);
  if (budget < minimum.bytes) return describe(graph, budget, minimum, {}, nullptr);
  const Stop stop(limit);
  Chain chain(graph, budget, 0, stop);
  const Bound bound = bound_only({.seconds = limit}, chain);
  Answer answer = describe(graph, budget, minimum, bound, &order);
  answer.elapsed = stop.elapsed();
  return answer;
}

}  // namespace fastsa
