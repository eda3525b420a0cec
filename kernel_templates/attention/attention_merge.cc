#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kAttentionMerge{{
    .name = "attention_merge",
    .file = "attention/attention_merge.hip",
    .layer = "attention_merge",
    .what = "adds up the shares of attention_split",
    .constants = {{"kHeads", "int", "query heads"},
                  {"kHeadSize", "int", "width of a head"},
                  {"kSplits", "int", "shares of the context"}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"shares", "const float*", ParamRole::kActivations,
                "[rows, kHeads, kSplits, kHeadSize + 2]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kHeads, kHeadSize]"}},
}};

}  // namespace
}  // namespace hetune
