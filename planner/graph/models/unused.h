// What a file has that its layer graph leaves out although it would change the result.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "planner/graph/layer_graph.h"

namespace hetune {

// Tensors that no op reads and hyper-parameters ("<arch>.*") that are not among `keys`, those that
// the builder has read; without the harmless ones. One entry each, as an error lists them.
// `blocks`: all blocks of the file, those of multi-token prediction (`graph.layers` on) among them.
std::vector<std::string> unused_parts(const ModelFile& file, const LayerGraph& graph,
                                      const std::set<std::string>& keys, int blocks);

}  // namespace hetune
