// The text form of a graph's operations.
#pragma once

#include <string>

#include "planner/fusion/fused_graph.h"

namespace hetune {

// "blk.0.attn_norm = rmsnorm(x: embed, weight: blk.0.attn_norm.weight, eps: 1e-06)": outputs, kind,
// and the other members with their names; weights that an operation goes without are left out.
std::string op_text(const LayerGraph& model, const Op& op);

// A line for each operation, in order of execution.
std::string graph_text(const FusedGraph& graph);

}  // namespace hetune
