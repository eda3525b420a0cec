#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kEmbedNorm{{
    .name = "embed_norm",
    .file = "embed/embed_norm.hip",
    .layer = "embed_norm",
    .what = "rows of the embedding table, and the first input",
    .constants = {{"Quant", "Quant", "format of the table"},
                  {"kRows", "int", "vocabulary"},
                  {"kCols", "int", "width of a row"},
                  {"kQuantisedOutput", "bool", "the first input in 8 bits or float"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"w", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"tokens", "const i32*", ParamRole::kActivations, "[rows]"},
               {"norm", "const float*", ParamRole::kWeights, "[kCols]"},
               {"h", "float*", ParamRole::kOutput, "[rows, kCols]"},
               {"next", "void*", ParamRole::kOutput, "[rows, kCols / 32] or [rows, kCols]"},
               {"squares", "float*", ParamRole::kOutput, "[rows, kCols / 32]"}},
    .promises = {},
}};

}  // namespace
}  // namespace hetune
