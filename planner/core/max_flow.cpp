#include "core/max_flow.h"

#include <algorithm>

namespace fastsa {

Node MaxFlow::add_node() { return count_++; }

Edge MaxFlow::add_edge(Node from, Node to, Capacity capacity) {
  edges_.push_back({from, to, capacity});
  return static_cast<Edge>(edges_.size()) - 1;
}

void MaxFlow::build() {
  first_.assign(static_cast<std::size_t>(nodes()) + 1, 0);
  for (const Listed& edge : edges_) {
    ++first_[edge.from + 1];
    ++first_[edge.to + 1];
  }
  for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
  arcs_.resize(2 * edges_.size());
  current_.assign(first_.begin(), first_.end() - 1);
  for (const Listed& edge : edges_) {
    const auto forth = static_cast<Edge>(current_[edge.from]++);
    const auto back = static_cast<Edge>(current_[edge.to]++);
    arcs_[forth] = {edge.to, back, edge.capacity};
    arcs_[back] = {edge.from, forth, 0};
  }
  excess_.assign(static_cast<std::size_t>(nodes()), 0);
}

Capacity MaxFlow::solve(const Stop& stop) {
  build();
  for (std::size_t i = first_[kSource]; i < first_[kSource + 1]; ++i) {
    Arc& arc = arcs_[i];
    excess_[arc.to] += arc.residual;
    arcs_[arc.reverse].residual += arc.residual;
    arc.residual = 0;
  }
  relabel_all();
  while (highest_ >= 0) {
    auto& nodes_there = active_[highest_];
    if (nodes_there.empty()) {
      --highest_;
      continue;
    }
    const Node node = nodes_there.back();
    nodes_there.pop_back();
    if (excess_[node] == 0 || height_[node] != highest_) continue;
    discharge(node);
    if (work_ > 8 * static_cast<std::int64_t>(arcs_.size())) {
      if (stop.now()) return -1;
      relabel_all();
    }
  }
  relabel_all();  // exact distances: what cannot reach the sink is with the source
  return excess_[kSink];
}

// Heights become distances to the sink.
void MaxFlow::relabel_all() {
  work_ = 0;
  height_.assign(static_cast<std::size_t>(nodes()), nodes());
  at_height_.assign(static_cast<std::size_t>(nodes()) + 1, 0);
  active_.resize(static_cast<std::size_t>(nodes()) + 1);
  for (auto& list : active_) list.clear();
  std::copy(first_.begin(), first_.end() - 1, current_.begin());
  highest_ = -1;
  std::vector<Node> queue{kSink};
  height_[kSink] = 0;
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const Node node = queue[i];
    ++at_height_[height_[node]];
    if (node != kSink && excess_[node] > 0) activate(node);
    for (std::size_t a = first_[node]; a < first_[node + 1]; ++a) {
      const Node from = arcs_[a].to;
      if (from == kSource || height_[from] != nodes()) continue;
      if (arcs_[arcs_[a].reverse].residual == 0) continue;
      height_[from] = height_[node] + 1;
      queue.push_back(from);
    }
  }
}

void MaxFlow::activate(Node node) {
  active_[height_[node]].push_back(node);
  highest_ = std::max(highest_, height_[node]);
}

void MaxFlow::discharge(Node node) {
  while (excess_[node] > 0 && height_[node] < nodes()) {
    if (current_[node] == first_[node + 1]) {
      relabel(node);
      continue;
    }
    Arc& arc = arcs_[current_[node]];
    ++work_;
    if (arc.residual > 0 && height_[node] == height_[arc.to] + 1) {
      push(node, arc);
    } else {
      ++current_[node];
    }
  }
}

void MaxFlow::push(Node node, Arc& arc) {
  const Capacity amount = std::min(excess_[node], arc.residual);
  arc.residual -= amount;
  arcs_[arc.reverse].residual += amount;
  excess_[node] -= amount;
  const bool was_idle = excess_[arc.to] == 0;
  excess_[arc.to] += amount;
  if (was_idle && arc.to != kSink && arc.to != kSource) activate(arc.to);
}

void MaxFlow::relabel(Node node) {
  const Node before = height_[node];
  Node lowest = nodes();
  for (std::size_t a = first_[node]; a < first_[node + 1]; ++a) {
    if (arcs_[a].residual > 0) lowest = std::min(lowest, height_[arcs_[a].to]);
  }
  work_ += static_cast<std::int64_t>(first_[node + 1] - first_[node]);
  current_[node] = first_[node];
  height_[node] = std::min(lowest + 1, nodes());
  --at_height_[before];
  // A gap below: neither this node nor any above it can reach the sink again. Those above find out
  // when it is their turn.
  if (at_height_[before] == 0) height_[node] = nodes();
  if (height_[node] < nodes()) ++at_height_[height_[node]];
}

}  // namespace fastsa
