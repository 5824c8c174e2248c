#include "core/simulate.h"

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

  Footprint run() {
    for (Position k = 0; k < end(); ++k) step(k);
    for (ValueId v = 0; v < graph_.values(); ++v) {
      if (graph_.is_output(v)) current_[v].last_use = end() - 1;
      close(v);
    }
    return sum_up();
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

  Footprint sum_up() const {
    Footprint footprint;
    Bytes alive = 0;
    for (Position k = 0; k < end(); ++k) {
      alive += change_[k];
      const Bytes total = alive + graph_.workspace(sequence_[k]);
      footprint.seconds += graph_.seconds(sequence_[k]);
      if (footprint.peak_position < 0 || total > footprint.peak) {
        footprint.peak = total;
        footprint.peak_position = k;
      }
    }
    return footprint;
  }

  const Graph& graph_;
  std::span<const OpId> sequence_;
  std::vector<Bytes> change_;
  std::vector<Instance> current_;
};

}  // namespace

Footprint simulate(const Graph& graph, std::span<const OpId> sequence) {
  return Simulation(graph, sequence).run();
}

}  // namespace fastsa
