#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kExpertsDownGrouped{{
    .name = "experts_down_grouped",
    .file = "moe/experts_down_grouped.hip",
    .layer = "experts",
    .what = "y = down x, several slots of one expert at once",
    .constants = {{"Quant", "Quant", "format of the matrices"},
                  {"kRows", "int", "rows of one expert's matrix, width of y"},
                  {"kCols", "int", "width of x"},
                  {"kTokens", "int", "slots that share one pass over the weights"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"order", "const int*", ParamRole::kActivations, "[slots]"},
               {"chunks", "const ExpertChunk*", ParamRole::kActivations, "[chunks]"},
               {"w", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations,
                "[slots, kCols / 32] or [slots, kCols]"},
               {"y", "float*", ParamRole::kOutput, "[slots, kRows]"}},
    .promises = {.dot4 = true, .wide_loads = true},
    .lds_bytes =
        [](const SpecValues& v) { return v("kWaves") > 1 ? v("kWaves") * v("kTokens") * 128 : 0; },
}};

}  // namespace
}  // namespace hetune
