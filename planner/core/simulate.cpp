#include "core/simulate.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace fastsa {
namespace {

struct Instance {
  Position born = -1;
  Position last_use = -1;
};

class Simulation {
 public:
  Simulation(const Graph& graph, std::span<const OpId> sequence)
      : graph_(graph),
        sequence_(sequence),
        change_(sequence.size() + 1, 0),
        current_(graph.values()) {}

  std::vector<Bytes> run() {
    for (Position k = 0; k < end(); ++k) step(k);
    for (ValueId v = 0; v < graph_.values(); ++v) {
      if (graph_.is_output(v)) current_[v].last_use = end() - 1;
      close(v);
    }
    Bytes alive = 0;
    for (Position k = 0; k < end(); ++k) {
      alive += change_[k];
      change_[k] = alive + graph_.workspace(sequence_[k]);
    }
    change_.pop_back();
    return std::move(change_);
  }

 private:
  Position end() const { return static_cast<Position>(sequence_.size()); }

  void step(Position k) {
    for (ValueId v : graph_.inputs(sequence_[k])) current_[v].last_use = k;
    for (ValueId v : graph_.outputs(sequence_[k])) {
      close(v);
      current_[v] = {k, k};
    }
  }

  void close(ValueId v) {
    if (current_[v].born < 0) return;
    change_[current_[v].born] += graph_.bytes(v);
    change_[current_[v].last_use + 1] -= graph_.bytes(v);
  }

  const Graph& graph_;
  std::span<const OpId> sequence_;
  std::vector<Bytes> change_;
  std::vector<Instance> current_;
};

// Summed in the order of ops, not of the sequence: equal sets of runs take equal seconds to the
// last bit, and no set takes less than a part of it.
Seconds seconds_of(const Graph& graph, std::span<const OpId> sequence) {
  std::vector<std::int32_t> runs(static_cast<std::size_t>(graph.ops()), 0);
  for (OpId op : sequence) ++runs[op];
  Seconds seconds = 0;
  for (OpId op = 0; op < graph.ops(); ++op) seconds += runs[op] * graph.seconds(op);
  return seconds;
}

}  // namespace

std::vector<Bytes> profile(const Graph& graph, std::span<const OpId> sequence) {
  return Simulation(graph, sequence).run();
}

Footprint simulate(const Graph& graph, std::span<const OpId> sequence) {
  Footprint footprint;
  footprint.seconds = seconds_of(graph, sequence);
  const std::vector<Bytes> bytes = profile(graph, sequence);
  for (Position k = 0; k < static_cast<Position>(bytes.size()); ++k) {
    if (footprint.peak_position < 0 || bytes[k] > footprint.peak) {
      footprint.peak = bytes[k];
      footprint.peak_position = k;
    }
  }
  return footprint;
}

}  // namespace fastsa
