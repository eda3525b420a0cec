// What lowerings of matrix products share.
#pragma once

#include <span>
#include <string>

#include "planner/lower/plan_builder.h"

namespace hetune {

// Activations for products with `weights`: in 8 bits where the options ask for it and every format
// allows it.
struct LinearInput {
    PlanArg arg;
    bool quantised = false;
};
LinearInput linear_input(PlanBuilder& b, ValueId x, std::span<const std::string> weights);

// Emits y = weights[0] x (+ weights[1]); y is float [rows, rows of weights[0]].
void emit_linear(PlanBuilder& b, const std::string& label, ValueId x, const LinearInput& input,
                 std::span<const std::string> weights, PlanArg y);

}  // namespace hetune
