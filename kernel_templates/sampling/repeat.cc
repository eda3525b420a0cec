#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kRepeat{{
    .name = "repeat",
    .file = "sampling/repeat.hip",
    .layer = "sample",
    .what = "takes a loop of steps on the device around again, or ends it",
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kActivations, "[1]"},
               {"loop", "LoopState*", ParamRole::kInOut, "[1]"}},
}};

}  // namespace
}  // namespace hetune
