#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kAttentionStep{{
    .name = "attention_step",
    .file = "attention/attention_step.hip",
    .layer = "attention_step",
    .what = "attention of one decoded token, with norm, rope and KV write",
    .constants = {{"Kv", "Kv", "element type of the cache"},
                  {"kHeads", "int", "query heads"},
                  {"kKvHeads", "int", "KV heads"},
                  {"kHeadSize", "int", "width of a head"},
                  {"kScale", "float", "factor of the scores"},
                  {"kNorm", "bool", "normalise q and k"},
                  {"kEps", "float", "of that norm"},
                  {"kRotary", "int", "rotated dimensions; 0: none"},
                  {"kInterleaved", "bool", "pairs (2i, 2i+1) rather than (i, i + kRotary/2)"},
                  {"kMagnitude", "float", "factor of the rotated dimensions (YaRN)"},
                  {"kGated", "bool", "each head of q has a gate behind it"},
                  {"kQuantisedOutput", "bool", "y in 8 bits or float"},
                  {"kParts", "int", "groups among which the query heads of a KV head are shared"},
                  {"kSplits", "int", "shares of the context"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kParts", {1, 2}},
                 {"kSplits", {1, 4, 8, 16, 32, 64, 128}},
                 {"kWaves", {1, 2, 4, 8}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"pages", "const i32*", ParamRole::kActivations, "[slots, page_stride]"},
               {"q", "const float*", ParamRole::kActivations, "[rows, kHeads, kHeadSize]"},
               {"k", "const float*", ParamRole::kActivations, "[rows, kKvHeads, kHeadSize]"},
               {"v", "const float*", ParamRole::kActivations, "[rows, kKvHeads, kHeadSize]"},
               {"q_norm", "const float*", ParamRole::kWeights, "[kHeadSize]"},
               {"k_norm", "const float*", ParamRole::kWeights, "[kHeadSize]"},
               {"turns", "const float*", ParamRole::kWeights, "[kRotary / 2][2]"},
               {"k_cache", "Kv::Element*", ParamRole::kState, "[pages, kPageTokens, kRowElements]"},
               {"v_cache", "Kv::Element*", ParamRole::kState, "[pages, kPageTokens, kRowElements]"},
               {"shares", "float*", ParamRole::kInOut, "[rows, kHeads, kSplits, kHeadSize + 2]"},
               {"counters", "int*", ParamRole::kState, "[rows, kKvHeads * kParts]"},
               {"y", "void*", ParamRole::kOutput,
                "[rows, kHeads * kHeadSize / 32] or [rows, kHeads, kHeadSize]"}},
    .promises = {.wide_loads = true},
    .lds_bytes =
        [](const SpecValues& v) {
            const int64_t group = v("kHeads") / v("kKvHeads") / v("kParts");
            return (v("kWaves") * group * (32 + v("kHeadSize") + 2) + (group + 1) * v("kHeadSize") +
                    1) *
                   4;
        },
    .refuses = [](const SpecValues& v) -> std::string {
        return v("kHeads") % (v("kKvHeads") * v("kParts")) == 0
                   ? ""
                   : "query heads do not divide among the parts";
    },
}};

}  // namespace
}  // namespace hetune
