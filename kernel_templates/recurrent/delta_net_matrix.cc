#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kMatrix{{
    .name = "delta_net_matrix",
    .file = "recurrent/delta_net_matrix.hip",
    .layer = "delta_net",
    .what = "gated delta rule chunk by chunk on the matrix units, with the state in registers",
    .constants = {{"kValueHeads", "int", "heads of v and of the state"},
                  {"kKeySize", "int", "rows of a head's state"},
                  {"kValueSize", "int", "columns of it"},
                  {"kChunk", "int", "tokens of a chunk, as of delta_net_prepare"}},
    .one_sequence = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"chunks", "const float*", ParamRole::kActivations,
                "[chunks, kValueHeads, DeltaChunk::kFloats]"},
               {"state", "float*", ParamRole::kState,
                "[slots]: [kValueHeads, kKeySize, kValueSize]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kValueHeads, kValueSize]"}},
    .promises = {.matrix = true},
}};

}  // namespace
}  // namespace hetune
