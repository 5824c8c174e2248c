// Random legal graphs for the core's tests.
#pragma once

#include "core/graph.h"
#include "core/random.h"

namespace fastsa::testing {

struct Shape {
  int ops = 30;
  int segments = 3;
  bool fixed_ops = true;  // some ops may run only once
};

inline Graph random_graph(std::uint64_t seed, const Shape& shape = {}) {
  Random random(seed);
  std::vector<RegionId> regions;
  for (int s = 0; s < shape.segments; ++s) regions.push_back(random.below(2));
  std::vector<Bytes> bytes{4, 0};  // two inputs of the step
  std::vector<Op> ops;
  for (int i = 0; i < shape.ops; ++i) {
    Op op;
    op.seconds = random.below(4);
    op.workspace = random.chance(0.2) ? random.below(50) : 0;
    op.segment = i * shape.segments / shape.ops;
    op.recomputable = !shape.fixed_ops || random.chance(0.8);
    for (ValueId v = 0; v < static_cast<ValueId>(bytes.size()); ++v) {
      if (random.chance(2.0 / static_cast<double>(bytes.size()))) op.inputs.push_back(v);
    }
    for (int made = random.below(3); made >= 0; --made) {
      op.outputs.push_back(static_cast<ValueId>(bytes.size()));
      bytes.push_back(random.chance(0.1) ? 0 : random.below(100));
    }
    ops.push_back(std::move(op));
  }
  std::vector<ValueId> outputs;
  for (ValueId v = 0; v < static_cast<ValueId>(bytes.size()); ++v) {
    if (random.chance(0.1)) outputs.push_back(v);
  }
  return Graph(std::move(regions), std::move(bytes), std::move(ops), std::move(outputs));
}

// A forward chain, and a backward that reads it in reverse.
inline Graph chain_graph(int length, Bytes size = 8) {
  std::vector<Op> ops;
  for (ValueId v = 0; v < length; ++v) {
    ops.push_back({1, 0, 0, true, v == 0 ? std::vector<ValueId>{} : std::vector{v - 1}, {v}});
  }
  ValueId gradient = length;
  ops.push_back({1, 0, 1, true, {length - 1}, {gradient}});
  for (ValueId v = length - 1; v >= 0; --v, ++gradient) {
    ops.push_back({1, 0, 1, true, {v, gradient}, {gradient + 1}});
  }
  std::vector<Bytes> bytes(static_cast<std::size_t>(gradient) + 1, size);
  return Graph({0, 0}, std::move(bytes), std::move(ops), {gradient});
}

}  // namespace fastsa::testing
