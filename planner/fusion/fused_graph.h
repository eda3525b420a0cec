// A layer graph on its way to a plan: the values are those of the model, and fusion rules have made
// fused operations of primitive ones.
#pragma once

#include <string>
#include <vector>

#include "planner/fusion/fused_ops.h"
#include "planner/graph/layer_graph.h"

namespace hetune {

struct FusedGraph {
    // With the primitive ops of `model`, which outlives this.
    explicit FusedGraph(const LayerGraph& model);

    const LayerGraph& model;  // values and sizes
    std::vector<Op> ops;      // in order of execution
};

}  // namespace hetune
