#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kRmsNorm{{
    .name = "rmsnorm",
    .file = "norm/rmsnorm.hip",
    .layer = "rmsnorm",
    .what = "y = x / rms(x) * w",
    .constants = {{"kCols", "int", "width of a row"},
                  {"kEps", "float", "added to the mean square"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8, 16}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kCols]"},
               {"w", "const float*", ParamRole::kWeights, "[kCols]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kCols]"}},
}};

}  // namespace
}  // namespace hetune
