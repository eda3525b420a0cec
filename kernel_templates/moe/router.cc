#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kRouter{{
    .name = "router",
    .file = "moe/router.hip",
    .layer = "router",
    .what = "softmax over the experts and the kUsed largest",
    .constants = {{"kExperts", "int", "experts"},
                  {"kUsed", "int", "of them per token, at most 32"},
                  {"kRenormalise", "bool", "shares of the used ones add up to 1"}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"logits", "const float*", ParamRole::kActivations, "[rows, kExperts]"},
               {"ids", "int*", ParamRole::kOutput, "[rows, kUsed]"},
               {"shares", "float*", ParamRole::kOutput, "[rows, kUsed]"}},
}};

}  // namespace
}  // namespace hetune
