// Draws an item with a probability proportional to its weight, in constant time.
#pragma once

#include <vector>

#include "core/random.h"

namespace fastsa {

class AliasTable {
 public:
  // Items of weight 0 are never drawn (unless rounding leaves nothing else).
  AliasTable(std::vector<std::int32_t> items, std::vector<double> weights);

  bool empty() const { return cells_.empty(); }
  std::int32_t draw(Random& random) const {
    const Cell& cell = cells_[random.below(static_cast<std::int64_t>(cells_.size()))];
    return random.unit() <= cell.threshold ? cell.item : cell.alias;
  }

 private:
  struct Cell {
    double threshold;
    std::int32_t item;
    std::int32_t alias;
  };
  std::vector<Cell> cells_;
};

}  // namespace fastsa
