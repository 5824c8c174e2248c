#include "core/alias_table.h"

namespace fastsa {

AliasTable::AliasTable(std::vector<std::int32_t> items, std::vector<double> weights) {
  double total = 0;
  for (double weight : weights) total += weight;
  if (!(total > 0)) return;
  std::vector<std::size_t> poor;
  std::vector<std::size_t> rich;
  for (std::size_t i = 0; i < items.size(); ++i) {
    weights[i] *= static_cast<double>(items.size()) / total;
    cells_.push_back({1, items[i], items[i]});
    (weights[i] < 1 ? poor : rich).push_back(i);
  }
  // Each poor cell is topped up by one rich item, which may become poor itself.
  while (!poor.empty() && !rich.empty()) {
    const std::size_t i = poor.back();
    const std::size_t giver = rich.back();
    poor.pop_back();
    cells_[i].threshold = weights[i];
    cells_[i].alias = items[giver];
    weights[giver] -= 1 - weights[i];
    if (weights[giver] < 1) {
      rich.pop_back();
      poor.push_back(giver);
    }
  }
}

}  // namespace fastsa
