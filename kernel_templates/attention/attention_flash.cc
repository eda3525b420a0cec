#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kAttentionFlash{{
    .name = "attention_flash",
    .file = "attention/attention_flash.hip",
    .layer = "attention",
    .what = "causal attention of many rows on the matrix units",
    .constants = {{"Kv", "Kv", "element type of the cache"},
                  {"kHeads", "int", "query heads"},
                  {"kKvHeads", "int", "KV heads"},
                  {"kHeadSize", "int", "width of a head, a multiple of 16"},
                  {"kScale", "float", "of the scores"},
                  {"kKeys", "int", "keys in LDS at once"},
                  {"kWaves", "int", "waves per group, 16 rows each"}},
    .tunables = {{"kKeys", {32, 64}}, {"kWaves", {2, 4}}},
    .one_sequence = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"pages", "const i32*", ParamRole::kActivations, "[slots, page_stride]"},
               {"q", "const float*", ParamRole::kActivations, "[rows, kHeads, kHeadSize]"},
               {"k_cache", "const Kv::Element*", ParamRole::kState,
                "[pages, kPageTokens, kRowElements]"},
               {"v_cache", "const Kv::Element*", ParamRole::kState,
                "[pages, kPageTokens, kRowElements]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kHeads, kHeadSize]"}},
    .promises = {.matrix = true, .wide_loads = true},
}};

}  // namespace
}  // namespace hetune
