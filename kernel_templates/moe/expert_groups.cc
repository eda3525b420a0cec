#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kExpertGroups{{
    .name = "expert_groups",
    .file = "moe/expert_groups.hip",
    .layer = "experts",
    .what = "slots of a step sorted by expert, in chunks",
    .constants = {{"kExperts", "int", "experts"},
                  {"kUsed", "int", "of them per token"},
                  {"kTokens", "int", "slots of a chunk, at most"},
                  {"kChunks", "int", "chunks that are launched"},
                  {"kWaves", "int", "waves of the only group"}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"ids", "const int*", ParamRole::kActivations, "[rows, kUsed]"},
               {"order", "int*", ParamRole::kOutput, "[rows * kUsed]"},
               {"chunks", "ExpertChunk*", ParamRole::kOutput, "[kChunks]"}},
    .lds_bytes =
        [](const SpecValues& v) {
            return (v("kWaves") * (v("kExperts") + 32) + v("kExperts")) * 4;
        },
}};

}  // namespace
}  // namespace hetune
