#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kSample{{
    .name = "sample",
    .file = "sampling/sample.hip",
    .layer = "sample",
    .what = "draws the next token on the device",
    .constants = {{"kVocabulary", "int", "number of logits"},
                  {"kWaves", "int", "waves of the group"}},
    .tunables = {{"kWaves", {1, 4, 8, 16}}},
    .overlaps = true,
    .params = {{"logits", "float*", ParamRole::kInOut, "[rows, kVocabulary]"},
               {"state", "SamplerState*", ParamRole::kInOut, "[slots]"},
               {"step", "StepState*", ParamRole::kInOut, "[1]"},
               {"tokens", "i32*", ParamRole::kOutput, "[rows]"},
               {"ring", "i32*", ParamRole::kOutput, "[slots, kTokenRing]"}},
    .lds_bytes = [](const SpecValues& v) { return v("kWaves") * (4 + 32 * 4 + 4); },
}};

}  // namespace
}  // namespace hetune
