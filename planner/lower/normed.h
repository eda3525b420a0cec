// Values between fused kernels: norms whose factor is applied by the reader, and the form that
// readers want.
#pragma once

#include "planner/fusion/rewrite.h"
#include "planner/lower/plan_builder.h"

namespace hetune {

// A norm's output between the fused op that makes it and those that read it: in the form that the
// readers want, without its factor, beside the squares that the factor follows from.
struct Normed {
    PlanArg value, squares;
    bool quantised;
};
Normed out_normed(PlanBuilder& b, const ops::NextNorm& norm);

// The input of a fused product: normed by the op before, or an ordinary value.
struct FusedInput {
    PlanArg value, squares;
    bool quantised, due;
    double eps;
};
FusedInput in_normed(PlanBuilder& b, const Op& reader);

// 8-bit blocks where all readers of `value` are products that want them.
bool output_quantised(const PlanBuilder& b, ValueId value);

}  // namespace hetune
