#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kExpertsGateUp{{
    .name = "experts_gate_up",
    .file = "moe/experts_gate_up.hip",
    .layer = "experts",
    .what = "y = silu(gate x) * up x of the experts that a token uses",
    .constants = {{"Gate", "Quant", "format of the gate matrices"},
                  {"Up", "Quant", "format of the up matrices"},
                  {"kUsed", "int", "experts per token"},
                  {"kRows", "int", "rows of one expert's matrix, width of y"},
                  {"kCols", "int", "width of x"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kQuantisedOutput", "bool", "y in 8 bits or float"},
                  {"kGateScale", "bool", "products with gate have a factor for each expert"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"ids", "const int*", ParamRole::kActivations, "[rows, kUsed]"},
               {"gate", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"up", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"gate_scale", "const float*", ParamRole::kWeights, "[experts]"},
               {"x", "const void*", ParamRole::kActivations, "[rows, kCols / 32] or [rows, kCols]"},
               {"y", "void*", ParamRole::kOutput,
                "[rows, kUsed, kRows / 32] or [rows, kUsed, kRows]"}},
    .promises = {.dot4 = true, .wide_loads = true},
    .lds_bytes = [](const SpecValues& v) { return v("kWaves") > 1 ? v("kWaves") * 256 : 0; },
}};

}  // namespace
}  // namespace hetune
