// The fusion rules: each rewrites primitive ops into a fused one, which only kernels know.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/fusion/fused_graph.h"
#include "planner/plan/plan.h"

namespace hetune {

// A rule that rewrites primitive ops into a fused one, for which there is a lowering. Rules run in
// order of priority, highest first, each until it finds nothing more.
struct FusionRule {
    std::string name;
    int priority = 0;
    // Kinds of fused ops. The rule is left out when no kernel for one of them is left.
    std::vector<std::string_view> makes = {};
    // True when it rewrote something.
    std::function<bool(FusedGraph&, const PlanOptions&, const ModelFile&)> apply;
};
std::vector<FusionRule>& fusion_rules();
struct RegisterFusion {
    explicit RegisterFusion(FusionRule rule);
};

}  // namespace hetune
