#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kAttentionSplit{{
    .name = "attention_split",
    .file = "attention/attention_split.hip",
    .layer = "attention",
    .what = "causal attention of each row over one share of the context",
    .constants = {{"Kv", "Kv", "element type of the cache"},
                  {"kHeads", "int", "query heads"},
                  {"kKvHeads", "int", "KV heads"},
                  {"kHeadSize", "int", "width of a head"},
                  {"kScale", "float", "factor of the scores"},
                  {"kSplits", "int", "shares of the context"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kSplits", {1, 4, 8, 16, 32, 64}}, {"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"pages", "const i32*", ParamRole::kActivations, "[slots, page_stride]"},
               {"q", "const float*", ParamRole::kActivations, "[rows, kHeads, kHeadSize]"},
               {"k_cache", "const Kv::Element*", ParamRole::kState,
                "[pages, kPageTokens, kRowElements]"},
               {"v_cache", "const Kv::Element*", ParamRole::kState,
                "[pages, kPageTokens, kRowElements]"},
               {"shares", "float*", ParamRole::kOutput, "[rows, kHeads, kSplits, kHeadSize + 2]"}},
    .promises = {.wide_loads = true},
    .lds_bytes =
        [](const SpecValues& v) {
            return v("kWaves") * (v("kHeads") / v("kKvHeads")) * (32 + v("kHeadSize") + 2) * 4;
        },
}};

}  // namespace
}  // namespace hetune
