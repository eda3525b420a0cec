#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kScale{{
    .name = "scale",
    .file = "elementwise/scale.hip",
    .layer = "scale",
    .what = "y = x * s (+ bias), one s for all",
    .constants = {{"kCols", "int", "width of a row"},
                  {"kBias", "bool", "adds a bias"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kCols]"},
               {"s", "const float*", ParamRole::kWeights, "[1]"},
               {"bias", "const float*", ParamRole::kWeights, "[kCols]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kCols]"}},
}};

}  // namespace
}  // namespace hetune
