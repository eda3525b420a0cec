#include "kernel_templates/catalogue.h"
#include "kernel_templates/linear/sum_memory.h"

namespace hetune {
namespace {

const RegisterTemplate kGemv{{
    .name = "gemv",
    .file = "linear/gemv.hip",
    .layer = "linear",
    .what = "y = W x for up to kTokens rows of activations",
    .constants = {{"Quant", "Quant", "format of W"},
                  {"kRows", "int", "rows of W, width of y"},
                  {"kCols", "int", "columns of W, width of x"},
                  {"kTokens", "int", "activation rows that share one pass over W"},
                  {"kMatrix", "bool", "by integer matrix units: kTokens is a multiple of 8"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kTiledInput", "bool", "x in tiles of 8 tokens (XTile); with kMatrix"},
                  {"kBias", "bool", "adds a bias"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kTokens", {1, 2, 4, 8, 16}}, {"kWaves", {1, 2, 4, 8, 16}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"w", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations, "[rows, kCols / 32] or [rows, kCols]"},
               {"bias", "const float*", ParamRole::kWeights, "[kRows]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kRows]"}},
    .promises = {.dot4 = true, .wide_loads = true},
    .lds_bytes = [](const SpecValues& v) { return sum_memory_bytes(v); },
}};

}  // namespace
}  // namespace hetune
