// Any graph and any budget, from bytes: the core answers or says BadRequest, and every answer has
// passed the validator (solve throws std::logic_error otherwise, which ends the fuzzer).
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/solve.h"

namespace fastsa {
namespace {

constexpr int kMostOps = 24;
constexpr int kMostValues = 48;

// Numbers from the fuzzer's bytes; zeros once they run out.
class Source {
 public:
  Source(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  int below(int bound) { return byte() % bound; }
  bool flag() { return (byte() & 1) != 0; }
  // Mostly small, sometimes large, rarely senseless.
  Bytes bytes() {
    const int shift = below(16);
    if (shift == 15) return below(2) == 0 ? -1 : Bytes{1} << 62;
    return Bytes{byte()} << (shift < 12 ? 0 : 4 * shift - 40);
  }
  std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

std::vector<std::int32_t> some(Source& source, int bound, int most) {
  std::vector<std::int32_t> ids;
  for (int i = source.below(most + 1); i > 0 && bound > 0; --i) ids.push_back(source.below(bound));
  return ids;
}

Graph graph_from(Source& source) {
  std::vector<RegionId> regions;
  for (int s = source.below(5); s >= 0; --s) regions.push_back(source.below(3));
  std::vector<Bytes> bytes;
  for (int v = source.below(4); v > 0; --v) bytes.push_back(source.bytes());
  std::vector<Op> ops;
  SegmentId segment = 0;
  for (int count = source.below(kMostOps); count > 0; --count) {
    Op op;
    op.seconds = source.below(5) * (source.flag() ? 1.0 : 1e-6);
    op.workspace = source.flag() ? source.bytes() : 0;
    if (source.below(4) == 0) segment += source.below(2);
    op.segment = segment;
    op.recomputable = source.below(8) != 0;
    op.inputs = some(source, static_cast<int>(bytes.size()), 3);
    for (int made = source.below(3); made > 0 && bytes.size() < kMostValues; --made) {
      op.outputs.push_back(static_cast<ValueId>(bytes.size()));
      bytes.push_back(source.bytes());
    }
    ops.push_back(std::move(op));
  }
  std::vector<ValueId> outputs = some(source, static_cast<int>(bytes.size()), 4);
  return Graph(std::move(regions), std::move(bytes), std::move(ops), std::move(outputs));
}

void run(Source& source) {
  const Graph graph = graph_from(source);
  const Bytes minimum = minimum_budget(graph).bytes;
  const Bytes peak = simulate(graph, graph.base_order().sequence).peak;
  Request request;
  request.budget = minimum + (peak - minimum) / 16 * source.below(17) + source.below(3) - 1;
  request.algorithm = source.flag() ? Algorithm::kPortfolio : Algorithm::kPaper;
  request.effort.iterations = 200 * source.below(8);
  request.seed = source.byte();
  request.threads = 1 + source.below(2);
  const Answer answer = solve(graph, request, nullptr);
  if (answer.claim.status == Status::kInfeasible) return;
  request.warm_start = answer.order;
  request.effort.iterations = 100;
  const Answer again = solve(graph, request, nullptr);
  if (better({answer.claim.peak, answer.claim.seconds, 0},
             {again.claim.peak, again.claim.seconds, 0}, request.budget)) {
    std::abort();  // worse than what it started from
  }
  certify(graph, answer.order, request.budget, 0.05);
}

}  // namespace
}  // namespace fastsa

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fastsa::Source source(data, size);
  try {
    fastsa::run(source);
  } catch (const fastsa::BadRequest&) {
    return 0;  // a graph that makes no sense, and it said so
  }
  return 0;
}
