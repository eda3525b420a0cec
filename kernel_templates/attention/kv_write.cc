#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kKvWrite{{
    .name = "kv_write",
    .file = "attention/kv_write.hip",
    .layer = "kv_write",
    .what = "appends rows to one layer's KV cache",
    .constants = {{"Kv", "Kv", "element type of the cache"},
                  {"kKvHeads", "int", "KV heads"},
                  {"kHeadSize", "int", "width of a head"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"pages", "const i32*", ParamRole::kActivations, "[slots, page_stride]"},
               {"k", "const float*", ParamRole::kActivations, "[rows, kKvHeads, kHeadSize]"},
               {"v", "const float*", ParamRole::kActivations, "[rows, kKvHeads, kHeadSize]"},
               {"k_cache", "Kv::Element*", ParamRole::kState, "[pages, kPageTokens, kRowElements]"},
               {"v_cache", "Kv::Element*", ParamRole::kState,
                "[pages, kPageTokens, kRowElements]"}},
}};

}  // namespace
}  // namespace hetune
