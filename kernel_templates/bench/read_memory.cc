#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kReadMemory{{
    .name = "read_memory",
    .file = "bench/read_memory.hip",
    .layer = "bench",
    .what = "reads memory at full speed",
    .constants = {{"kPieces", "int", "16-byte loads of a lane in flight"},
                  {"kPasses", "int", "how often"},
                  {"kWaves", "int", "waves per group"}},
    .params = {{"data", "const u8*", ParamRole::kWeights,
                "[groups, kPasses, kPieces, kWaves, 512]"},
               {"sums", "u32*", ParamRole::kOutput, "[groups, kWaves]"}},
    .promises = {.wide_loads = true},
}};

}  // namespace
}  // namespace hetune
