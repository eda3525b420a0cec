#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kScaleShares{{
    .name = "scale_shares",
    .file = "moe/scale_shares.hip",
    .layer = "scale_shares",
    .what = "shares of the chosen experts times a factor for each expert",
    .constants = {{"kUsed", "int", "experts per token"}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"ids", "const int*", ParamRole::kActivations, "[rows, kUsed]"},
               {"shares", "const float*", ParamRole::kActivations, "[rows, kUsed]"},
               {"s", "const float*", ParamRole::kWeights, "[experts]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kUsed]"}},
}};

}  // namespace
}  // namespace hetune
