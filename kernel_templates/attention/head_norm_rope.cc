#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kHeadNormRope{{
    .name = "head_norm_rope",
    .file = "attention/head_norm_rope.hip",
    .layer = "head_norm_rope",
    .what = "per-head RMSNorm, then rotary embedding; either may be absent",
    .constants = {{"kHeads", "int", "heads"},
                  {"kHeadSize", "int", "width of a head"},
                  {"kStride", "int", "width of a row of x"},
                  {"kNorm", "bool", "normalise"},
                  {"kEps", "float", "added to the mean square"},
                  {"kRotary", "int", "rotated dimensions; 0: none"},
                  {"kInterleaved", "bool", "pairs (2i, 2i+1) rather than (i, i + kRotary/2)"},
                  {"kMagnitude", "float", "factor of the rotated dimensions (YaRN)"}},
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kStride]"},
               {"w", "const float*", ParamRole::kWeights, "[kHeadSize]"},
               {"turns", "const float*", ParamRole::kWeights, "[kRotary / 2][2]"},
               {"y", "float*", ParamRole::kOutput, "[rows, kHeads * kHeadSize]"}},
}};

}  // namespace
}  // namespace hetune
