#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kExpertsDown{{
    .name = "experts_down",
    .file = "moe/experts_down.hip",
    .layer = "experts",
    .what = "y = sum of share_k * down_k x_k over the experts that a token uses",
    .constants = {{"Quant", "Quant", "format of the matrices"},
                  {"kUsed", "int", "experts per token"},
                  {"kRows", "int", "rows of one expert's matrix, width of y"},
                  {"kCols", "int", "width of x"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kWaves", "int", "waves per group; they share the experts"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"ids", "const int*", ParamRole::kActivations, "[rows, kUsed]"},
               {"shares", "const float*", ParamRole::kActivations, "[rows, kUsed]"},
               {"w", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations,
                "[rows, kUsed, kCols / 32] or [rows, kUsed, kCols]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kRows]"}},
    .promises = {.dot4 = true, .wide_loads = true},
}};

}  // namespace
}  // namespace hetune
