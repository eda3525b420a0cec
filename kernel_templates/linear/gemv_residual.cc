#include "kernel_templates/catalogue.h"
#include "kernel_templates/linear/sum_memory.h"

namespace hetune {
namespace {

const RegisterTemplate kGemvResidual{{
    .name = "gemv_residual",
    .file = "linear/gemv_residual.hip",
    .layer = "linear_add",
    .what = "h = W x + residual, and the next input",
    .constants = {{"Quant", "Quant", "format of W"},
                  {"kRows", "int", "rows of W, width of h"},
                  {"kCols", "int", "columns of W, width of x"},
                  {"kTokens", "int", "activation rows that share one pass over W"},
                  {"kMatrix", "bool", "by integer matrix units: kTokens is a multiple of 8"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kTiledInput", "bool", "x in tiles of 8 tokens (XTile); with kMatrix"},
                  {"kNormed", "bool", "makes the next input too"},
                  {"kQuantisedOutput", "bool", "the next input in 8 bits or float"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kTokens", {1, 2, 4, 8, 16}}, {"kWaves", {1, 2, 4, 8, 16}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"w", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations, "[rows, kCols / 32] or [rows, kCols]"},
               {"residual", "const float*", ParamRole::kActivations, "[rows, kRows]"},
               {"norm", "const float*", ParamRole::kWeights, "[kRows]"},
               {"h", "float*", ParamRole::kOutput, "[rows, kRows]"},
               {"next", "void*", ParamRole::kOutput, "[rows, kRows / 32] or [rows, kRows]"},
               {"squares", "float*", ParamRole::kOutput, "[rows, kRows / 32]"}},
    .promises = {.dot4 = true, .wide_loads = true},
    .lds_bytes = [](const SpecValues& v) { return sum_memory_bytes(v); },
}};

}  // namespace
}  // namespace hetune
