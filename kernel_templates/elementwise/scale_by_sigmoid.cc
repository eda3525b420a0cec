#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kScaleBySigmoid{{
    .name = "scale_by_sigmoid",
    .file = "elementwise/scale_by_sigmoid.hip",
    .layer = "scale_by_sigmoid",
    .what = "y = x * sigmoid(s), one s for a row",
    .constants = {{"kCols", "int", "width of a row"}, {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kCols]"},
               {"s", "const float*", ParamRole::kActivations, "[rows]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kCols]"}},
}};

}  // namespace
}  // namespace hetune
