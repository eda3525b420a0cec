#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

const RegisterTemplate kMoeRoute{{
    .name = "moe_route",
    .file = "moe/moe_route.hip",
    .layer = "moe_step",
    .what = "router logits and choice of experts of one token",
    .constants = {{"Quant", "Quant", "format of the router"},
                  {"kExperts", "int", "experts"},
                  {"kUsed", "int", "experts of a token"},
                  {"kRenormalise", "bool", "shares of those chosen add up to 1"},
                  {"kShared", "bool", "there is a gate of a shared expert"},
                  {"kCols", "int", "width of x"},
                  {"kNormed", "bool", "x is before its norm"},
                  {"kEps", "float", "of that norm"},
                  {"kSplits", "int", "shares of the columns"},
                  {"kWaves", "int", "waves per group; they share K"}},
    .tunables = {{"kSplits", {1, 2, 4, 8}}, {"kWaves", {1, 2, 4, 8}}},
    .overlaps = true,
    .params = {{"step", "const StepState*", ParamRole::kStep, "[1]"},
               {"x", "const float*", ParamRole::kActivations, "[rows, kCols]"},
               {"norm", "const float*", ParamRole::kWeights, "[kCols]"},
               {"squares", "const float*", ParamRole::kActivations, "[rows, kCols / 32]"},
               {"w", "const u8*", ParamRole::kWeights,
                "[ceil(kExperts / 32), kCols / tile, tile bytes]"},
               {"gate", "const float*", ParamRole::kWeights, "[1, kCols / 32, tile bytes]"},
               {"parts", "float*", ParamRole::kOutput,
                "[rows, kSplits, ceil(kExperts / 32) * 32 + 1]"},
               {"counters", "int*", ParamRole::kState, "[rows]"},
               {"ids", "int*", ParamRole::kOutput, "[rows, kUsed]"},
               {"shares", "float*", ParamRole::kOutput, "[rows, kUsed + 1]"}},
    .promises = {.wide_loads = true},
    .lds_bytes =
        [](const SpecValues& v) {
            return 4 * (v("kCols") / v("kSplits")) + v("kWaves") * (128 + 4) + 4;
        },
    .refuses = [](const SpecValues& v) -> std::string {
        return v("kCols") % (32 * v("kSplits")) == 0 ? "" : "kCols is no multiple of 32 kSplits";
    },
}};

}  // namespace
}  // namespace hetune
