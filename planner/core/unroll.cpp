#include "core/unroll.h"

#include <utility>

namespace fastsa {

Unrolled unroll(const Graph& graph, const Order& order, const std::vector<double>& weights) {
  std::vector<Op> runs;
  std::vector<Bytes> bytes;
  std::vector<ValueId> original;
  std::vector<char> again;
  std::vector<ValueId> latest(static_cast<std::size_t>(graph.values()), -1);
  std::vector<char> ran(static_cast<std::size_t>(graph.ops()), 0);
  SegmentId segment = 0;
  for (Position k = 0; k < static_cast<Position>(order.sequence.size()); ++k) {
    while (segment + 1 < graph.segments() && order.segment_starts[segment + 1] <= k) ++segment;
    const OpId op = order.sequence[k];
    Op run{graph.seconds(op) * weights[op],
           graph.workspace(op),
           segment,
           graph.recomputable(op),
           {},
           {}};
    for (ValueId v : graph.inputs(op)) run.inputs.push_back(latest[v]);
    for (ValueId v : graph.outputs(op)) {
      latest[v] = static_cast<ValueId>(bytes.size());
      run.outputs.push_back(latest[v]);
      bytes.push_back(graph.bytes(v));
      original.push_back(v);
    }
    runs.push_back(std::move(run));
    again.push_back(ran[op]);
    ran[op] = 1;
  }
  std::vector<ValueId> outputs;
  for (ValueId v = 0; v < graph.values(); ++v) {
    if (graph.is_output(v)) outputs.push_back(latest[v]);
  }
  std::vector<RegionId> regions;
  for (SegmentId s = 0; s < graph.segments(); ++s) regions.push_back(graph.segment_region(s));
  return {Graph(std::move(regions), std::move(bytes), std::move(runs), std::move(outputs)),
          std::move(original), std::move(again)};
}

}  // namespace fastsa
