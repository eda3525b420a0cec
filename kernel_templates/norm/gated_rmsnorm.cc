#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kGatedRmsNorm{{
    .name = "gated_rmsnorm",
    .file = "norm/gated_rmsnorm.hip",
    .layer = "gated_rmsnorm",
    .what = "per head: y = x / rms(x) * w * silu(z)",
    .constants = {{"kHeads", "int", "heads"},
                  {"kHeadSize", "int", "width of a head"},
                  {"kEps", "float", "added to the mean square"}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kHeads, kHeadSize]"},
               {"z", "const float*", ParamRole::kActivations, "[rows, kHeads, kHeadSize]"},
               {"w", "const float*", ParamRole::kWeights, "[kHeadSize]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kHeads, kHeadSize]"}},
}};

}  // namespace
}  // namespace hetune
