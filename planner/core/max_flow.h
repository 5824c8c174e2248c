// Minimum cuts by pushing and relabelling: the side of the source and the cut's value, no flow.
#pragma once

#include <vector>

#include "core/stop.h"

namespace fastsa {

using Node = std::int32_t;
using Edge = std::int32_t;
using Capacity = std::int64_t;

class MaxFlow {
 public:
  static constexpr Node kSource = 0;
  static constexpr Node kSink = 1;

  // Source and sink are there already.
  Node add_node();
  // The capacities out of the source, and so those on any path, must add up to less than 2^62.
  Edge add_edge(Node from, Node to, Capacity capacity);
  void set_capacity(Edge edge, Capacity capacity) { edges_[edge].capacity = capacity; }

  // The cut's value; -1 if it was stopped.
  Capacity solve(const Stop& stop);
  // Of the last solve: whether the node is on the source's side of a minimum cut.
  bool with_source(Node node) const { return height_[node] >= nodes(); }

 private:
  struct Arc {
    Node to;
    Edge reverse;  // index in arcs_
    Capacity residual;
  };
  struct Listed {
    Node from;
    Node to;
    Capacity capacity;
  };

  Node nodes() const { return count_; }
  void build();
  void relabel_all();
  void discharge(Node node);
  void relabel(Node node);
  void push(Node node, Arc& arc);
  void activate(Node node);

  Node count_ = 2;
  std::vector<Listed> edges_;
  std::vector<Arc> arcs_;
  std::vector<std::size_t> first_;    // by node: its arcs are arcs_[first_[node]..first_[node + 1])
  std::vector<std::size_t> current_;  // by node: the next arc to try
  std::vector<Capacity> excess_;
  std::vector<Node> height_;               // at least nodes(): the sink cannot be reached
  std::vector<std::vector<Node>> active_;  // by height
  std::vector<Node> at_height_;            // how many nodes
  Node highest_ = 0;
  std::int64_t work_ = 0;  // since the last relabelling of all
};

}  // namespace fastsa
