#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kMoeDown{{
    .name = "moe_down",
    .file = "moe/moe_down.hip",
    .layer = "moe_step",
    .what = "down of the experts of one token, residual, and the next input",
    .constants = {{"Quant", "Quant", "format of the experts' down"},
                  {"Shared", "Quant", "format of the shared expert's down"},
                  {"kUsed", "int", "experts of a token"},
                  {"kRows", "int", "width of h"},
                  {"kCols", "int", "rows of an expert's gate"},
                  {"kSharedCols", "int", "of the shared expert's; 0: there is none"},
                  {"kSharedGate", "bool", "the shared expert has a share"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kNormed", "bool", "makes the next input too"},
                  {"kQuantisedOutput", "bool", "the next input in 8 bits or float"},
                  {"kWaves", "int", "waves per group; they take experts in turn"}},
    .tunables = {{"kWaves", {1, 2, 3, 4, 8, 9, 16}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"ids", "const int*", ParamRole::kActivations, "[rows, kUsed]"},
               {"shares", "const float*", ParamRole::kActivations, "[rows, kUsed + 1]"},
               {"w", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"shared", "const u8*", ParamRole::kWeights,
                "[kRows / 32, kSharedCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations,
                "[rows, kUsed * kCols + kSharedCols], blocks of 32 or floats"},
               {"residual", "const float*", ParamRole::kActivations, "[rows, kRows]"},
               {"norm", "const float*", ParamRole::kWeights, "[kRows]"},
               {"h", "float*", ParamRole::kOutput, "[rows, kRows]"},
               {"next", "void*", ParamRole::kOutput, "[rows, kRows / 32] or [rows, kRows]"},
               {"squares", "float*", ParamRole::kOutput, "[rows, kRows / 32]"}},
    .promises = {.dot4 = true, .wide_loads = true},
}};

}  // namespace
}  // namespace hetune
