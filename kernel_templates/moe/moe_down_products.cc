#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kMoeDownProducts{{
    .name = "moe_down_products",
    .file = "moe/moe_down_products.hip",
    .layer = "moe_step",
    .what = "down of the experts of many tokens, by expert",
    .constants = {{"Quant", "Quant", "format of the experts' down"},
                  {"Shared", "Quant", "format of the shared expert's down"},
                  {"kUsed", "int", "experts of a token"},
                  {"kRows", "int", "width of h"},
                  {"kCols", "int", "rows of an expert's gate"},
                  {"kSharedCols", "int", "of the shared expert's; 0: there is none"},
                  {"kTokens", "int", "rows with the same expert that share a read of its weights"},
                  {"kQuantisedInput", "bool", "x in 8 bits (XBlock) or float"},
                  {"kWaves", "int", "waves per group; each owns 32 rows of h"}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"ids", "const int*", ParamRole::kActivations, "[rows, kUsed]"},
               {"w", "const u8*", ParamRole::kWeights,
                "[experts, kRows / 32, kCols / tile, tile bytes]"},
               {"shared", "const u8*", ParamRole::kWeights,
                "[kRows / 32, kSharedCols / tile, tile bytes]"},
               {"x", "const void*", ParamRole::kActivations,
                "[rows, kUsed * kCols + kSharedCols], blocks of 32 or floats"},
               {"products", "float*", ParamRole::kOutput, "[rows, kUsed + (shared), kRows]"}},
    .promises = {.dot4 = true, .wide_loads = true},
}};

}  // namespace
}  // namespace hetune
