#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kExpertsSum{{
    .name = "experts_sum",
    .file = "moe/experts_sum.hip",
    .layer = "experts",
    .what = "y = sum of share_k * x_k over the slots of a token",
    .constants = {{"kUsed", "int", "experts per token"},
                  {"kCols", "int", "width of a row"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"shares", "const float*", ParamRole::kActivations, "[rows, kUsed]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kUsed, kCols]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kCols]"}},
}};

}  // namespace
}  // namespace hetune
