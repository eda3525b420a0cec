#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kCausalConv{{
    .name = "causal_conv",
    .file = "recurrent/causal_conv.hip",
    .layer = "causal_conv",
    .what = "silu of a depthwise convolution over the last kTaps rows",
    .constants = {{"kWidth", "int", "channels"},
                  {"kTaps", "int", "rows that a result depends on"},
                  {"kRows", "int", "rows of the step that a group walks over"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kRows", {16, 32, 64, 128}}, {"kWaves", {1, 2, 4, 8}}},
    .one_sequence = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kWidth]"},
               {"w", "const float*", ParamRole::kWeights, "[kWidth, kTaps]"},
               {"state", "float*", ParamRole::kState, "[slots]: [kTaps, kWidth]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kWidth]"}},
}};

}  // namespace
}  // namespace hetune
