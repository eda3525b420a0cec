#include "kernel_templates/catalogue.h"
#include "kernel_templates/linear/sum_memory.h"

namespace hetune {
namespace {

const RegisterTemplate kGemvFan{{
    .name = "gemv_fan",
    .file = "linear/gemv_fan.hip",
    .layer = "linear_fan",
    .what = "up to four products with the same input",
    .constants = {{"Quant0", "Quant", "format of W0"},
                  {"Quant1", "Quant", "format of W1"},
                  {"Quant2", "Quant", "format of W2"},
                  {"Quant3", "Quant", "format of W3"},
                  {"kRows0", "int", "rows of W0; 0: there is none"},
                  {"kRows1", "int", "rows of W1; 0: there is none"},
                  {"kRows2", "int", "rows of W2; 0: there is none"},
                  {"kRows3", "int", "rows of W3; 0: there is none"},
                  {"kCols", "int", "columns of W, width of x"},
                  {"kTokens", "int", "activation rows that share one pass over W"},
                  {"kMatrix", "bool", "by integer matrix units: kTokens is a multiple of 8"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kTiledInput", "bool", "x in tiles of 8 tokens (XTile); with kMatrix"},
                  {"kBias", "bool", "adds biases"},
                  {"kNormed", "bool", "x still lacks the factor of its norm"},
                  {"kEps", "float", "of that norm"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kTokens", {1, 2, 4, 8, 16}}, {"kWaves", {1, 2, 4, 8, 16}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const void*", ParamRole::kActivations, "[rows, kCols / 32] or [rows, kCols]"},
               {"squares", "const float*", ParamRole::kActivations, "[rows, kCols / 32]"},
               {"w0", "const u8*", ParamRole::kWeights, "[kRows0 / 32, kCols / tile, tile bytes]"},
               {"w1", "const u8*", ParamRole::kWeights, "[kRows1 / 32, kCols / tile, tile bytes]"},
               {"w2", "const u8*", ParamRole::kWeights, "[kRows2 / 32, kCols / tile, tile bytes]"},
               {"w3", "const u8*", ParamRole::kWeights, "[kRows3 / 32, kCols / tile, tile bytes]"},
               {"bias0", "const float*", ParamRole::kWeights, "[kRows0]"},
               {"bias1", "const float*", ParamRole::kWeights, "[kRows1]"},
               {"bias2", "const float*", ParamRole::kWeights, "[kRows2]"},
               {"bias3", "const float*", ParamRole::kWeights, "[kRows3]"},
               {"y0", "float*", ParamRole::kOutput, "[rows, kRows0]"},
               {"y1", "float*", ParamRole::kOutput, "[rows, kRows1]"},
               {"y2", "float*", ParamRole::kOutput, "[rows, kRows2]"},
               {"y3", "float*", ParamRole::kOutput, "[rows, kRows3]"}},
    .promises = {.dot4 = true, .wide_loads = true},
    .lds_bytes = [](const SpecValues& v) { return sum_memory_bytes(v); },
}};

}  // namespace
}  // namespace hetune
