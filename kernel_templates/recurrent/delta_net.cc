#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kDeltaNet{{
    .name = "delta_net",
    .file = "recurrent/delta_net.hip",
    .layer = "delta_net",
    .what = "gated delta rule, token by token, with the state in registers",
    .constants = {{"kKeyHeads", "int", "heads of q and k; value head h uses h mod kKeyHeads"},
                  {"kValueHeads", "int", "heads of v and of the state"},
                  {"kKeySize", "int", "rows of a head's state"},
                  {"kValueSize", "int", "columns of it"},
                  {"kEps", "float", "least norm of q and k"},
                  {"kWaves", "int", "waves per group; they share the rows of the state"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"qkv", "const float*", ParamRole::kActivations,
                "[rows, 2 kKeyHeads kKeySize + kValueHeads kValueSize]"},
               {"a", "const float*", ParamRole::kActivations, "[rows, kValueHeads]"},
               {"b", "const float*", ParamRole::kActivations, "[rows, kValueHeads]"},
               {"ssm_a", "const float*", ParamRole::kWeights, "[kValueHeads]"},
               {"dt_bias", "const float*", ParamRole::kWeights, "[kValueHeads]"},
               {"state", "float*", ParamRole::kState,
                "[slots]: [kValueHeads, kKeySize, kValueSize]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kValueHeads, kValueSize]"}},
    .lds_bytes = [](const SpecValues& v) { return v("kWaves") * 512; },
    .refuses = [](const SpecValues& v) -> std::string {
        return v("kKeySize") % v("kWaves") == 0 ? "" : "kKeySize is no multiple of kWaves";
    },
}};

}  // namespace
}  // namespace hetune
