// The lowerings: which turn an op into steps, found by (layer, variant). A new kernel for an op is
// a new file with a RegisterLowering; nothing here or elsewhere names it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "planner/graph/layer_graph.h"

namespace hetune {

class PlanBuilder;

struct Lowering {
    std::string layer;    // the op's kind
    std::string variant;  // "gemv"; shown in plans
    int priority = 0;     // the highest that fits is taken
    std::function<bool(const PlanBuilder&, const Op&)> fits = nullptr;  // default: always
    std::function<void(PlanBuilder&, const Op&)> emit;
};
std::vector<Lowering>& lowerings();
struct RegisterLowering {
    explicit RegisterLowering(Lowering lowering);
};

}  // namespace hetune
