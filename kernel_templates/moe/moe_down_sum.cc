#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kMoeDownSum{{
    .name = "moe_down_sum",
    .file = "moe/moe_down_sum.hip",
    .layer = "moe_step",
    .what = "sum of the experts of each token, residual, and the next input",
    .constants = {{"kUsed", "int", "experts of a token"},
                  {"kRows", "int", "width of h"},
                  {"kShared", "bool", "there is a shared expert"},
                  {"kSharedGate", "bool", "the shared expert has a share"},
                  {"kNormed", "bool", "makes the next input too"},
                  {"kQuantisedOutput", "bool", "the next input in 8 bits or float"},
                  {"kWaves", "int", "waves per group; each owns 32 rows of h"}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"products", "const float*", ParamRole::kActivations,
                "[rows, kUsed + (shared), kRows]"},
               {"shares", "const float*", ParamRole::kActivations, "[rows, kUsed + 1]"},
               {"residual", "const float*", ParamRole::kActivations, "[rows, kRows]"},
               {"norm", "const float*", ParamRole::kWeights, "[kRows]"},
               {"h", "float*", ParamRole::kOutput, "[rows, kRows]"},
               {"next", "void*", ParamRole::kOutput, "[rows, kRows / 32] or [rows, kRows]"},
               {"squares", "float*", ParamRole::kOutput, "[rows, kRows / 32]"}},
}};

}  // namespace
}  // namespace hetune
