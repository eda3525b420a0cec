#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kExpertsGateUpGemm{{
    .name = "experts_gate_up_gemm",
    .file = "moe/experts_gate_up_gemm.hip",
    .layer = "experts",
    .what = "y = silu(gate x) * up x, the slots of each expert on the matrix units",
    .constants = {{"Quant", "Quant", "format of the gate and the up matrices"},
                  {"kUsed", "int", "experts per token"},
                  {"kRows", "int", "rows of one expert's matrix, width of y"},
                  {"kCols", "int", "width of x"},
                  {"kTileM", "int", "slots of a chunk"},
                  {"kTileN", "int", "rows of the gate, and of the up matrix, of a group"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kTileM", {32, 64, 128}}, {"kTileN", {64}}, {"kWaves", {2, 4}}},
    .params = {{"order", "const int*", ParamRole::kActivations, "[rows * kUsed]"},
               {"chunks", "const ExpertChunk*", ParamRole::kActivations, "[chunks]"},
               {"gate", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"up", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const u8*", ParamRole::kActivations, "[rows][2 kCols + 16 bytes]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kUsed, kRows]"}},
    .promises = {.matrix = true, .wide_loads = true},
}};

}  // namespace
}  // namespace hetune
