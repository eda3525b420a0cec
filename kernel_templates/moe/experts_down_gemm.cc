#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kExpertsDownGemm{{
    .name = "experts_down_gemm",
    .file = "moe/experts_down_gemm.hip",
    .layer = "experts",
    .what = "y = down x, the slots of each expert on the matrix units",
    .constants = {{"Quant", "Quant", "format of the matrices"},
                  {"kRows", "int", "rows of one expert's matrix, width of y"},
                  {"kCols", "int", "width of x"},
                  {"kTileM", "int", "slots of a chunk"},
                  {"kTileN", "int", "rows of the matrix of a group"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kTileM", {32, 64, 128}}, {"kTileN", {64, 128}}, {"kWaves", {2, 4}}},
    .params = {{"order", "const int*", ParamRole::kActivations, "[slots]"},
               {"chunks", "const ExpertChunk*", ParamRole::kActivations, "[chunks]"},
               {"w", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const u8*", ParamRole::kActivations, "[slots][2 kCols + 16 bytes]"},
               {"y", "float*", ParamRole::kOutput, "[slots, kRows]"}},
    .promises = {.matrix = true, .wide_loads = true},
}};

}  // namespace
}  // namespace hetune
