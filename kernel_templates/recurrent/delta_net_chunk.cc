#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kChunk{{
    .name = "delta_net_chunk",
    .file = "recurrent/delta_net_chunk.hip",
    .layer = "delta_net",
    .what = "gated delta rule chunk by chunk, as matrix products with the state in LDS",
    .constants = {{"kValueHeads", "int", "heads of v and of the state"},
                  {"kKeySize", "int", "rows of a head's state"},
                  {"kValueSize", "int", "columns of it"},
                  {"kChunk", "int", "tokens of a chunk, as of delta_net_prepare"},
                  {"kWaves", "int", "waves per group; they share tokens and rows of the state"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .one_sequence = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"chunks", "const float*", ParamRole::kActivations,
                "[chunks, kValueHeads, DeltaChunk::kFloats]"},
               {"state", "float*", ParamRole::kState,
                "[slots]: [kValueHeads, kKeySize, kValueSize]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kValueHeads, kValueSize]"}},
}};

}  // namespace
}  // namespace hetune
