#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kExpertsGateUpGrouped{{
    .name = "experts_gate_up_grouped",
    .file = "moe/experts_gate_up_grouped.hip",
    .layer = "experts",
    .what = "y = silu(gate x) * up x, several slots of one expert at once",
    .constants = {{"Gate", "Quant", "format of the gate matrices"},
                  {"Up", "Quant", "format of the up matrices"},
                  {"kUsed", "int", "experts per token"},
                  {"kRows", "int", "rows of one expert's matrix, width of y"},
                  {"kCols", "int", "width of x"},
                  {"kTokens", "int", "slots that share one pass over the weights"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kQuantisedOutput", "bool", "y in 8 bits or float"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kTokens", {4, 8, 16}}, {"kWaves", {1, 2, 4, 8}}},
    .params = {{"order", "const int*", ParamRole::kActivations, "[rows * kUsed]"},
               {"chunks", "const ExpertChunk*", ParamRole::kActivations, "[chunks]"},
               {"gate", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"up", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations, "[rows, kCols / 32] or [rows, kCols]"},
               {"y", "void*", ParamRole::kOutput,
                "[rows, kUsed, kRows / 32] or [rows, kUsed, kRows]"}},
    .promises = {.dot4 = true, .wide_loads = true},
    .lds_bytes =
        [](const SpecValues& v) { return v("kWaves") > 1 ? v("kWaves") * v("kTokens") * 256 : 0; },
}};

}  // namespace
}  // namespace hetune
