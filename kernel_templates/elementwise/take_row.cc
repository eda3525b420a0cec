#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kTakeRow{{
    .name = "take_row",
    .file = "elementwise/take_row.hip",
    .layer = "last_row",
    .what = "the wanted row of a step, and a StepState for it",
    .constants = {{"kCols", "int", "width of a row"}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kCols]"},
               {"y", "float*", ParamRole::kOutput, "[1, kCols]"},
               {"last", "StepState*", ParamRole::kOutput, "[1]"}},
}};

}  // namespace
}  // namespace hetune
