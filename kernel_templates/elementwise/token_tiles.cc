#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kTokenTiles{{
    .name = "token_tiles",
    .file = "elementwise/token_tiles.hip",
    .layer = "quantise",
    .what = "8-bit activations of 8 rows side by side, for integer matrix units",
    .constants = {{"kCols", "int", "width of a row"}, {"kWaves", "int", "waves per group"}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const XBlock*", ParamRole::kActivations, "[rows, kCols / 32]"},
               {"y", "XTile*", ParamRole::kOutput, "[ceil(rows / 8), kCols / 32]"}},
}};

}  // namespace
}  // namespace hetune
