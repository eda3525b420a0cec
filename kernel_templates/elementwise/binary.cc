#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kBinary{{
    .name = "binary",
    .file = "elementwise/binary.hip",
    .layer = "elementwise",
    .what = "y = Op(a, b)",
    .constants = {{"Op", "Functor", "Add, SiluMul or SigmoidMul"},
                  {"kCols", "int", "width of a row"},
                  {"kWaves", "int", "waves per group"}},
    .tunables = {{"kWaves", {1, 2, 4, 8}}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"a", "const float*", ParamRole::kActivations, "[rows, kCols]"},
               {"b", "const float*", ParamRole::kActivations, "[rows, kCols]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kCols]"}},
}};

}  // namespace
}  // namespace hetune
