#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kRouterGroups{{
    .name = "router_groups",
    .file = "moe/router_groups.hip",
    .layer = "router",
    .what = "the kUsed most likely experts of the kGroupsUsed best groups; shares add up to 1",
    .constants = {{"kExperts", "int", "experts"},
                  {"kUsed", "int", "of them per token, at most 32"},
                  {"kGroups", "int", "groups of neighbours, at most 32"},
                  {"kGroupsUsed", "int", "of them per token"}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"logits", "const float*", ParamRole::kActivations, "[rows, kExperts]"},
               {"ids", "int*", ParamRole::kOutput, "[rows, kUsed]"},
               {"shares", "float*", ParamRole::kOutput, "[rows, kUsed]"}},
}};

}  // namespace
}  // namespace hetune
