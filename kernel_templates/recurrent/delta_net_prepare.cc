#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kPrepare{{
    .name = "delta_net_prepare",
    .file = "recurrent/delta_net_prepare.hip",
    .layer = "delta_net",
    .what = "of the gated delta rule in chunks, all that does not depend on the state",
    .constants = {{"kKeyHeads", "int", "heads of q and k; value head h uses h mod kKeyHeads"},
                  {"kValueHeads", "int", "heads of v and of the state"},
                  {"kKeySize", "int", "rows of a head's state"},
                  {"kValueSize", "int", "columns of it"},
                  {"kEps", "float", "least norm of q and k"},
                  {"kChunk", "int", "tokens of a chunk: 16 or 32"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .one_sequence = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"qkv", "const float*", ParamRole::kActivations,
                "[rows, 2 kKeyHeads kKeySize + kValueHeads kValueSize]"},
               {"a", "const float*", ParamRole::kActivations, "[rows, kValueHeads]"},
               {"b", "const float*", ParamRole::kActivations, "[rows, kValueHeads]"},
               {"ssm_a", "const float*", ParamRole::kWeights, "[kValueHeads]"},
               {"dt_bias", "const float*", ParamRole::kWeights, "[kValueHeads]"},
               {"chunks", "float*", ParamRole::kOutput,
                "[chunks, kValueHeads, DeltaChunk::kFloats]"}},
}};

}  // namespace
}  // namespace hetune
