// Gated delta net layers and gated attention from primitives.
#include <fmt/format.h>

#include "planner/lower/delta_net_chunk.h"
#include "planner/lower/lowerings.h"
#include "planner/lower/plan_builder.h"

namespace hetune {
namespace {

std::string state_name(int state, const char* which) {
    return fmt::format("state.{}.{}", state, which);
}

void lower_split_heads(PlanBuilder& b, const ops::SplitHeads& op) {
    const ValueId x = op.x, y = op.a, z = op.b;
    const int waves = b.waves("split_heads", 4);
    const PlanArg in = b.in(x);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"split_heads",
                 {{"kHeads", constant(op.heads)},
                  {"kHeadSize", constant(op.head_size)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(x), in, b.out(y), b.out(z)},
        .groups = {ceil_div(b.width(y), 32 * waves), static_cast<uint32_t>(b.rows(x)), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = b.rows(x) > 1 ? 1 : -1};
    step.cost.activation_bytes = 2 * b.rows(x) * b.width(x) * 4;
    b.emit(std::move(step));
}

void lower_causal_conv(PlanBuilder& b, const ops::CausalConv& op) {
    const ValueId x = op.x, y = op.y;
    const int64_t taps = op.taps, width = b.width(x);
    const int waves = b.waves("causal_conv", 4), rows = b.tunable("causal_conv", "kRows", 32);
    const int64_t state_bytes = taps * width * 4;
    const PlanArg in = b.in(x);
    EmittedStep step{.label = b.name(y),
                     .spec = {"causal_conv",
                              {{"kWidth", constant(width)},
                               {"kTaps", constant(taps)},
                               {"kRows", constant(rows)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(x), in, b.raw(op.weight),
                              b.state(state_name(op.state, "conv"), state_bytes), b.out(y)},
                     .groups = {ceil_div(width, 32 * waves), ceil_div(b.rows(x), rows), 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = 1,
                     .rows_per_group = rows};
    step.cost.weight_bytes = width * taps * 4;
    step.cost.activation_bytes = 2 * (b.rows(x) * width * 4 + state_bytes);
    step.cost.operations = 2 * b.rows(x) * width * taps;
    b.emit(std::move(step));
}

// Waves share the state's rows: enough of them to keep 32 rows a lane, and the device busy.
int delta_net_waves(const PlanBuilder& b, int64_t key_size) {
    int waves = b.arch.waves(4);
    while (key_size % waves != 0) waves /= 2;
    return b.tunable("delta_net", "kWaves", waves);
}

void lower_delta_net(PlanBuilder& b, const ops::DeltaNet& op) {
    const ValueId qkv = op.qkv, y = op.y;
    const int64_t heads = op.value_heads;
    const int64_t key_size = op.key_size, value_size = op.value_size;
    const int waves = delta_net_waves(b, key_size);
    const int64_t state_bytes = heads * key_size * value_size * 4;
    const PlanArg in = b.in(qkv), alpha = b.in(op.a), beta = b.in(op.b);
    EmittedStep step{.label = b.name(y),
                     .spec = {"delta_net",
                              {{"kKeyHeads", constant(op.key_heads)},
                               {"kValueHeads", constant(heads)},
                               {"kKeySize", constant(key_size)},
                               {"kValueSize", constant(value_size)},
                               {"kEps", constant(op.eps)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(qkv), in, alpha, beta, b.raw(op.ssm_a), b.raw(op.dt_bias),
                              b.state(state_name(op.state, "delta"), state_bytes), b.out(y)},
                     .groups = {static_cast<uint32_t>(heads), ceil_div(value_size, 32), 1},
                     .threads = static_cast<uint32_t>(32 * waves)};
    step.cost.activation_bytes = b.rows(qkv) * (b.width(qkv) + b.width(y)) * 4 + 2 * state_bytes;
    step.cost.operations = 8 * b.rows(qkv) * heads * key_size * value_size;
    b.emit(std::move(step));
}

void lower_gated_rmsnorm(PlanBuilder& b, const ops::GatedRmsNorm& op) {
    const ValueId x = op.x, y = op.y;
    const PlanArg in = b.in(x), gate = b.in(op.gate);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"gated_rmsnorm",
                 {{"kHeads", constant(op.heads)},
                  {"kHeadSize", constant(op.head_size)},
                  {"kEps", constant(op.eps)}}},
        .args = {b.step(x), in, gate, b.raw(op.weight), b.out(y)},
        .groups = {static_cast<uint32_t>(op.heads), static_cast<uint32_t>(b.rows(x)), 1},
        .rows_axis = b.rows(x) > 1 ? 1 : -1};
    step.cost.activation_bytes = 3 * b.rows(x) * b.width(x) * 4;
    step.cost.operations = 8 * b.rows(x) * b.width(x);
    b.emit(std::move(step));
}

}  // namespace

Lowerings<ops::SplitHeads> lowerings(const ops::SplitHeads&) {
    static const Lowering<ops::SplitHeads> list[] = {
        {.variant = "copy", .emit = lower_split_heads}};
    return list;
}
Lowerings<ops::CausalConv> lowerings(const ops::CausalConv&) {
    static const Lowering<ops::CausalConv> list[] = {
        {.variant = "channels", .emit = lower_causal_conv}};
    return list;
}
Lowerings<ops::DeltaNet> lowerings(const ops::DeltaNet&) {
    static const Lowering<ops::DeltaNet> list[] = {
        kDeltaNetByChunks, {.variant = "recurrent", .emit = lower_delta_net}};
    return list;
}
Lowerings<ops::GatedRmsNorm> lowerings(const ops::GatedRmsNorm&) {
    static const Lowering<ops::GatedRmsNorm> list[] = {
        {.variant = "wave", .emit = lower_gated_rmsnorm}};
    return list;
}

}  // namespace hetune
