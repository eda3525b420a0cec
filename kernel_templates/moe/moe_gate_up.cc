#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kMoeGateUp{{
    .name = "moe_gate_up",
    .file = "moe/moe_gate_up.hip",
    .layer = "moe_step",
    .what = "gate and up of the experts of each token, and of the shared one",
    .constants = {{"Gate", "Quant", "format of the experts' gate"},
                  {"Up", "Quant", "format of the experts' up"},
                  {"SharedGate", "Quant", "format of the shared expert's gate"},
                  {"SharedUp", "Quant", "format of the shared expert's up"},
                  {"kUsed", "int", "experts of a token"},
                  {"kRows", "int", "rows of an expert"},
                  {"kSharedRows", "int", "rows of the shared expert; 0: there is none"},
                  {"kCols", "int", "width of x"},
                  {"kTokens", "int", "rows with the same expert that share a read of its weights"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kQuantisedOutput", "bool", "y in 8 bits or float"},
                  {"kNormed", "bool", "x still lacks the factor of its norm"},
                  {"kEps", "float", "of that norm"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kWaves", {1, 2, 4, 8, 16}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"ids", "const int*", ParamRole::kActivations, "[rows, kUsed]"},
               {"gate", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"up", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"shared_gate", "const u8*", ParamRole::kWeights,
                "[kSharedRows / 32, kCols / tile, tile bytes]"},
               {"shared_up", "const u8*", ParamRole::kWeights,
                "[kSharedRows / 32, kCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations, "[rows, kCols / 32] or [rows, kCols]"},
               {"squares", "const float*", ParamRole::kActivations, "[rows, kCols / 32]"},
               {"y", "void*", ParamRole::kOutput,
                "[rows, kUsed * kRows + kSharedRows], blocks of 32 or floats"}},
    .promises = {.dot4 = true, .wide_loads = true},
    .lds_bytes = [](const SpecValues& v) { return v("kWaves") * v("kTokens") * 256; },
}};

}  // namespace
}  // namespace hetune
