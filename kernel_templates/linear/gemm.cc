#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kGemm{{
    .name = "gemm",
    .file = "linear/gemm.hip",
    .layer = "linear",
    .what = "y = W x for many rows, on the matrix units",
    .constants = {{"Quant", "Quant", "format of W"},
                  {"kRows", "int", "rows of W, width of y"},
                  {"kCols", "int", "columns of W, width of x"},
                  {"kBias", "bool", "adds a bias"},
                  {"kResidual", "bool", "adds another value"},
                  {"kTileM", "int", "activation rows of a group"},
                  {"kTileN", "int", "rows of W of a group"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kTileM", {32, 64, 128}}, {"kTileN", {64, 128}}, {"kWaves", {2, 4}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"w", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const u8*", ParamRole::kActivations, "[rows][2 kCols + 16 bytes]"},
               {"bias", "const float*", ParamRole::kWeights, "[kRows]"},
               {"residual", "const float*", ParamRole::kActivations, "[rows, kRows]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kRows]"}},
    .promises = {.matrix = true, .wide_loads = true},
}};

}  // namespace
}  // namespace hetune
