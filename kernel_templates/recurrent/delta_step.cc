#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kDeltaStep{{
    .name = "delta_step",
    .file = "recurrent/delta_step.hip",
    .layer = "delta_step",
    .what = "convolution, delta rule and gated norm of one token",
    .constants = {{"kKeyHeads", "int", "heads of q and k"},
                  {"kValueHeads", "int", "heads of v"},
                  {"kKeySize", "int", "width of a head of q and k"},
                  {"kValueSize", "int", "width of a head of v"},
                  {"kTaps", "int", "inputs that the convolution sees"},
                  {"kEps", "float", "least length of q and k"},
                  {"kNormEps", "float", "of the gated norm"},
                  {"kQuantisedOutput", "bool", "y in 8 bits or float"},
                  {"kSplits", "int", "shares of a state's rows"},
                  {"kWaves", "int", "waves per group; they share a head"}},
    .tunables = {{"kSplits", {1, 2, 4, 8}}, {"kWaves", {1, 2, 4, 8, 16}}},
    .overlaps = true,
    .params =
        {{"step", "const StepState*", ParamRole::kStep, "[1]"},
         {"qkv", "const float*", ParamRole::kActivations, "[rows, q heads | k heads | v heads]"},
         {"a", "const float*", ParamRole::kActivations, "[rows, kValueHeads]"},
         {"b", "const float*", ParamRole::kActivations, "[rows, kValueHeads]"},
         {"z", "const float*", ParamRole::kActivations, "[rows, kValueHeads, kValueSize]"},
         {"conv", "const float*", ParamRole::kWeights, "[kWidth, kTaps]"},
         {"ssm_a", "const float*", ParamRole::kWeights, "[kValueHeads]"},
         {"dt_bias", "const float*", ParamRole::kWeights, "[kValueHeads]"},
         {"norm", "const float*", ParamRole::kWeights, "[kValueSize]"},
         {"ring", "float*", ParamRole::kState, "[slots]: [kTaps, kWidth]"},
         {"state", "float*", ParamRole::kState, "[slots]: [kValueHeads, kKeySize, kValueSize]"},
         {"y", "void*", ParamRole::kOutput, "[rows, kValueHeads * kValueSize / 32] or floats"}},
    .refuses = [](const SpecValues& v) -> std::string {
        return v("kKeySize") % v("kSplits") == 0 ? "" : "kKeySize is no multiple of kSplits";
    },
}};

}  // namespace
}  // namespace hetune
