#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kQuantise{{
    .name = "quantise",
    .file = "elementwise/quantise.hip",
    .layer = "quantise",
    .what = "float activations to 8 bits with a scale for each 32",
    .constants = {{"kCols", "int", "width of a row"}, {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kCols]"},
               {"y", "XBlock*", ParamRole::kOutput, "[rows, kCols / 32]"}},
}};

}  // namespace
}  // namespace hetune
