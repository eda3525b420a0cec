#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kHalfRows{{
    .name = "half_rows",
    .file = "elementwise/half_rows.hip",
    .layer = "rmsnorm",
    .what = "float activations to halves with a scale for each row, normed on the way or not",
    .constants = {{"kCols", "int", "width"},
                  {"kPerRow", "int", "rows of x for each row of the step"},
                  {"kNorm", "bool", "v = x / rms(x) * w, else v = x"},
                  {"kEps", "float", "of that norm"},
                  {"kFloats", "bool", "gives v as floats too"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows * kPerRow, kCols]"},
               {"w", "const float*", ParamRole::kWeights, "[kCols]"},
               {"floats", "float*", ParamRole::kOutput, "[rows * kPerRow, kCols]"},
               {"y", "u8*", ParamRole::kOutput, "[rows * kPerRow][2 kCols + 16 bytes]"}},
    .promises = {.wide_loads = true},
}};

}  // namespace
}  // namespace hetune
