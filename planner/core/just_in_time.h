// From "these values are not kept" to an order: make each again just before a later segment needs
// it, then keep it until its last use.
#pragma once

#include <vector>

#include "core/graph.h"

namespace fastsa {

// `dropped`: by value; what a later segment of the same region reads is made again there.
Order just_in_time(const Graph& graph, const std::vector<char>& dropped);

}  // namespace fastsa
