#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kEmbed{{
    .name = "embed",
    .file = "embed/embed.hip",
    .layer = "embed",
    .what = "rows of the embedding table",
    .constants = {{"Quant", "Quant", "format of the table"},
                  {"kRows", "int", "vocabulary"},
                  {"kCols", "int", "width of a row"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"w", "const u8*", ParamRole::kWeights, "[kRows / 32, kCols / tile, tile bytes]"},
               {"tokens", "const i32*", ParamRole::kActivations, "[rows]"},
               {"h", "float*", ParamRole::kOutput, "[rows, kCols]"}},
}};

}  // namespace
}  // namespace hetune
