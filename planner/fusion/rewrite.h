// What fusion rules share: looking around in a graph, and rewriting it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "planner/graph/layer_graph.h"
#include "planner/plan/plan.h"

namespace hetune {

// The op that makes a value.
std::optional<size_t> producer(const LayerGraph& graph, ValueId value);
// Ops that read a value, in order. The logits have one more reader, who is not an op.
std::vector<size_t> users(const LayerGraph& graph, ValueId value);
// The only op that reads a value; empty where there are more or none, or it is the logits.
std::optional<size_t> only_user(const LayerGraph& graph, ValueId value);

// Replaces the op at `at` by `fused`, and removes `others`.
void replace(LayerGraph& graph, size_t at, Op fused, std::vector<size_t> others);

// Weights of a fused op that multiply its first input, which may lack its norm's factor. Empty for
// other ops.
std::span<const std::string> matrices_of_input(const Op& op);

// Whether products with these weights take 8-bit activations. Empty where they differ, or a format
// is unknown.
std::optional<bool> takes_quantised(const ModelFile& file, const PlanOptions& options,
                                    std::span<const std::string> weights);

// Whether all readers of a norm's output are fused ops that apply the norm's factor themselves, and
// want it in one form.
bool factor_can_wait(const LayerGraph& graph, const ModelFile& file, const PlanOptions& options,
                     ValueId normed);

}  // namespace hetune
