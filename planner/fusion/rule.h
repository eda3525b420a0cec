// The fusion rules: each rewrites primitive ops into a fused one, which only kernels know.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "planner/graph/layer_graph.h"
#include "planner/plan/plan.h"

namespace hetune {

// A rule that rewrites primitive ops into a fused one, for which there is a lowering. Rules run in
// order of priority, highest first, each until it finds nothing more.
struct FusionRule {
    std::string name;
    int priority = 0;
    std::vector<std::string> makes =
        {};  // kinds of fused ops; left out when no kernel for one is left
    // True when it rewrote something.
    std::function<bool(LayerGraph&, const PlanOptions&, const ModelFile&)> apply;
};
std::vector<FusionRule>& fusion_rules();
struct RegisterFusion {
    explicit RegisterFusion(FusionRule rule);
};

}  // namespace hetune
