// From layer graph to plan: fusion rules rewrite the graph, lowerings turn each op into steps.
#pragma once

#include <map>

#include "planner/graph/layer_graph.h"
#include "planner/plan/plan.h"

namespace hetune {

// Throws ModelError where the model needs what no registered kernel gives (it names the op, the
// tensor and its type), or all that do are refused.
Plan make_plan(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
               const PlanOptions& options);

// The step that draws a token from the logits of one row. Buffers: "logits", "sampler", "step" and
// "tokens" of the decode plan, and "ring", in memory of the host. With `loops` a second step ends
// the body of a graph that repeats itself; its buffer is "loop".
Plan make_sampler_plan(int64_t vocabulary, const Arch& arch, const PlanOptions& options,
                       bool loops);

// The plan of the defaults, but for the tunables of single ops.
Plan lower_graph(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                 const PlanOptions& options, const std::map<int, OpTunables>& ops);

}  // namespace hetune
