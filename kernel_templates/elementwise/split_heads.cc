#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kSplitHeads{{
    .name = "split_heads",
    .file = "elementwise/split_heads.hip",
    .layer = "split_heads",
    .what = "each head of x is [a | b]; a and b apart",
    .constants = {{"kHeads", "int", "heads of a, and of b"},
                  {"kHeadSize", "int", "width of a head"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kHeads, 2, kHeadSize]"},
               {"a", "float*", ParamRole::kOutput, "[rows, kHeads, kHeadSize]"},
               {"b", "float*", ParamRole::kOutput, "[rows, kHeads, kHeadSize]"}},
}};

}  // namespace
}  // namespace hetune
