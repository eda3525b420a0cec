#include "kernel_templates/catalogue.h"
#include "kernel_templates/linear/sum_memory.h"

namespace hetune {
namespace {

const RegisterTemplate kGemvSwiglu{{
    .name = "gemv_swiglu",
    .file = "linear/gemv_swiglu.hip",
    .layer = "swiglu",
    .what = "y = silu(Wg x) * (Wu x)",
    .constants = {{"Gate", "Quant", "format of Wg"},
                  {"Up", "Quant", "format of Wu"},
                  {"kRows", "int", "rows of Wg and Wu, width of y"},
                  {"kCols", "int", "columns, width of x"},
                  {"kTokens", "int", "activation rows that share one pass over W"},
                  {"kMatrix", "bool", "by integer matrix units: kTokens is a multiple of 8"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kTiledInput", "bool", "x in tiles of 8 tokens (XTile); with kMatrix"},
                  {"kQuantisedOutput", "bool", "y in 8 bits or float"},
                  {"kNormed", "bool", "x still lacks the factor of its norm"},
                  {"kEps", "float", "of that norm"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kTokens", {1, 2, 4, 8, 16}}, {"kWaves", {1, 2, 4, 8, 16}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"gate", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"up", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations, "[rows, kCols / 32] or [rows, kCols]"},
               {"squares", "const float*", ParamRole::kActivations, "[rows, kCols / 32]"},
               {"y", "void*", ParamRole::kOutput, "[rows, kRows / 32] or [rows, kRows]"}},
    .promises = {.dot4 = true, .wide_loads = true},
    .lds_bytes = [](const SpecValues& v) { return 2 * sum_memory_bytes(v); },
}};

}  // namespace
}  // namespace hetune
