// The memory model of a sequence: what is alive while each op runs.
#pragma once

#include <span>
#include <vector>

#include "core/graph.h"

namespace fastsa {

struct Footprint {
  Bytes peak = 0;
  Seconds seconds = 0;
  Position peak_position = -1;  // the first position that reaches the peak; -1 of an empty sequence
};

// Bytes alive while the op at each position runs, its workspace included. Expects a legal sequence.
std::vector<Bytes> profile(const Graph& graph, std::span<const OpId> sequence);

// Expects a legal sequence. An instance of a value lives from its production to its last use before
// its next production; a graph output's last instance lives to the end.
Footprint simulate(const Graph& graph, std::span<const OpId> sequence);

}  // namespace fastsa
