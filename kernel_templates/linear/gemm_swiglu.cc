#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kGemmSwiglu{{
    .name = "gemm_swiglu",
    .file = "linear/gemm_swiglu.hip",
    .layer = "swiglu",
    .what = "y = silu(Wg x) * (Wu x) for many rows, on the matrix units",
    .constants = {{"Quant", "Quant", "format of Wg and Wu"},
                  {"kRows", "int", "rows of Wg and Wu, width of y"},
                  {"kCols", "int", "columns, width of x"},
                  {"kTileM", "int", "activation rows of a group"},
                  {"kTileN", "int", "rows of Wg, and of Wu, of a group"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kTileM", {32, 64, 128}}, {"kTileN", {64}}, {"kWaves", {2, 4}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"gate", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"up", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const u8*", ParamRole::kActivations, "[rows][2 kCols + 16 bytes]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kRows]"}},
    .promises = {.matrix = true, .wide_loads = true},
}};

}  // namespace
}  // namespace hetune
