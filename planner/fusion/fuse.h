// A model's graph by all fusion rules (rule.h).
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "planner/fusion/fused_graph.h"
#include "planner/plan/plan.h"

namespace hetune {

struct Fusion {
    FusedGraph graph;
    std::vector<std::string> notes;  // which rules were applied or left out
};
// `unfused`: kinds of fused ops for which no kernel is left. `model` outlives the graph.
Fusion fuse(const LayerGraph& model, const ModelFile& file, const PlanOptions& options,
            const std::set<std::string_view>& unfused = {});

// Whether a rule makes ops of this kind.
bool is_fused(std::string_view kind);

}  // namespace hetune
