#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kMatrixRate{{
    .name = "matrix_rate",
    .file = "bench/matrix_rate.hip",
    .layer = "bench",
    .what = "multiplies at full speed",
    .constants = {{"kLoops", "int", "how often eight products of a wave"},
                  {"kWaves", "int", "waves per group"}},
    .params = {{"factors", "const u16*", ParamRole::kWeights, "[6, 16, 16]"},
               {"sums", "float*", ParamRole::kOutput, "[groups, kWaves]"}},
    .promises = {.matrix = true},
}};

}  // namespace
}  // namespace hetune
