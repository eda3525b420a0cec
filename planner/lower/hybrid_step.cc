// Fused kernels of hybrid and mixture-of-experts layers for one token (planner/fusion/hybrid.cc).
#include <fmt/format.h>

#include <algorithm>

#include "planner/lower/normed.h"

namespace hetune {
namespace {

void lower_delta_step(PlanBuilder& b, const Op& op) {
    const ValueId qkv = op.inputs[0], y = op.outputs[0];
    const int64_t heads = op.integer("value_heads"), taps = op.integer("taps"),
                  width = b.width(qkv);
    const int64_t key_size = op.integer("key_size"), value_size = op.integer("value_size");
    const bool quantised = output_quantised(b, y) && value_size % 32 == 0;
    // A wave for each unit of the state, of which there are as many as a group can have.
    const int64_t blocks = (value_size + 31) / 32;
    int splits = 1;
    while (blocks * splits * 2 <= 16 && key_size % (2 * splits) == 0) splits *= 2;
    splits = b.tunable("delta_step", "kSplits", b.arch.waves(splits));
    const int waves =
        b.waves("delta_step", static_cast<int>(std::min<int64_t>(16, blocks * splits)));
    const int64_t ring_bytes = taps * width * 4, state_bytes = heads * key_size * value_size * 4;
    const std::string state = fmt::format("state.{}.", op.integer("state"));
    const PlanArg in = b.in(qkv), a = b.in(op.inputs[1]), beta = b.in(op.inputs[2]),
                  z = b.in(op.inputs[3]);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"delta_step",
                 {{"kKeyHeads", constant(op.integer("key_heads"))},
                  {"kValueHeads", constant(heads)},
                  {"kKeySize", constant(key_size)},
                  {"kValueSize", constant(value_size)},
                  {"kTaps", constant(taps)},
                  {"kEps", constant(op.attribute("eps"))},
                  {"kNormEps", constant(op.attribute("norm_eps"))},
                  {"kQuantisedOutput", constant(quantised)},
                  {"kSplits", constant(splits)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(qkv), in, a, beta, z, b.raw(op.weights[0]), b.raw(op.weights[1]),
                 b.raw(op.weights[2]), b.raw(op.weights[3]), b.state(state + "conv", ring_bytes),
                 b.state(state + "delta", state_bytes),
                 b.out(y, quantised ? Form::kQuantised : Form::kFloat)},
        .groups = {static_cast<uint32_t>(heads), 1, 1},
        .threads = static_cast<uint32_t>(32 * waves)};
    step.cost.weight_bytes = width * taps * 4;
    step.cost.activation_bytes = 2 * (ring_bytes + state_bytes) + (2 * width + b.width(y)) * 4 +
                                 form_bytes(quantised, b.width(y));
    step.cost.operations = 2 * width * taps + 8 * heads * key_size * value_size + 8 * b.width(y);
    b.emit(std::move(step));
}

// Weights and sizes of a moe_step op, in the order of planner/fusion/hybrid.cc.
struct MoeStep {
    MoeStep(const PlanBuilder& b, const Op& op)
        : experts(op.integer("experts")),
          used(op.integer("used")),
          shared(op.integer("shared") != 0),
          shared_gate(op.integer("shared_gate") != 0),
          width(b.width(op.inputs[0])) {
        auto next = op.weights.begin();
        gate = *next++;
        up = *next++;
        own_gate = shared ? *next++ : gate;
        own_up = shared ? *next++ : up;
        down = *next++;
        own_down = shared ? *next++ : down;
        router = *next++;
        norm = *next++;
        if (shared_gate) share = *next++;
        if (op.outputs.size() > 1) next_norm = *next++;
        inner = b.tensor_rows(gate) / experts;
        own_inner = shared ? b.tensor_rows(own_gate) : 0;
    }

    int64_t experts, used;
    bool shared, shared_gate;
    int64_t width, inner = 0, own_inner = 0;
    std::string gate, up, own_gate, own_up, down, own_down, router, norm, share, next_norm;
};

int waves_for(const PlanBuilder& b, const char* kernel, int64_t groups, int64_t tiles, int most) {
    return b.tunable(kernel, "kWaves", std::min(most, default_waves(b.arch, groups, tiles)));
}

void lower_route(PlanBuilder& b, const Op& op, const MoeStep& m, const FusedInput& in, PlanArg ids,
                 PlanArg shares) {
    const QuantFormat& format = b.format(m.router);
    const int64_t row_tiles = (m.experts + 31) / 32, tiles = m.width / format.tile_elems;
    int splits = 1;
    while (splits < 8 && tiles % (2 * splits) == 0) splits *= 2;
    splits = b.tunable("moe_route", "kSplits", b.arch.waves(splits));
    const int64_t groups = (row_tiles + (m.shared_gate ? 1 : 0)) * splits;
    const int waves = waves_for(b, "moe_route", groups, tiles / splits, 8);
    EmittedStep step{
        .label = b.name(op.outputs[0]) + ".experts",
        .spec = {"moe_route",
                 {{"Quant", format.name},
                  {"kExperts", constant(m.experts)},
                  {"kUsed", constant(m.used)},
                  {"kRenormalise", constant(op.integer("renormalise") != 0)},
                  {"kShared", constant(m.shared_gate)},
                  {"kCols", constant(m.width)},
                  {"kNormed", constant(in.due)},
                  {"kEps", constant(in.eps)},
                  {"kSplits", constant(splits)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(op.outputs[0]), in.due ? b.in(op.inputs[1]) : b.in(op.inputs[0]),
                 in.due ? b.raw(m.norm) : b.none(), in.squares, b.tiles(m.router),
                 m.shared_gate ? b.tiles(m.share) : b.none(),
                 b.scratch(splits * (row_tiles * 32 + 1) * 4), b.counters("route.counters", 4), ids,
                 shares},
        .groups = {static_cast<uint32_t>(groups / splits), static_cast<uint32_t>(splits), 1},
        .threads = static_cast<uint32_t>(32 * waves)};
    step.cost.weight_bytes =
        tiles_bytes(format, m.experts, m.width) + (m.shared_gate ? m.width * 4 : 0);
    step.cost.activation_bytes = m.width * 4 + (m.experts + 2 * m.used) * 4;
    step.cost.operations = 2 * m.experts * m.width;
    b.emit(std::move(step));
}

void lower_gate_up(PlanBuilder& b, const Op& op, const MoeStep& m, const FusedInput& in,
                   bool quantised, PlanArg ids, PlanArg act) {
    const QuantFormat &gate = b.format(m.gate), &up = b.format(m.up);
    const int64_t slots = m.used + (m.shared ? 1 : 0),
                  row_tiles = std::max(m.inner, m.own_inner) / 32;
    const int waves = waves_for(b, "moe_gate_up", row_tiles * slots, m.width / gate.tile_elems, 8);
    EmittedStep step{.label = b.name(op.outputs[0]) + ".gate_up",
                     .spec = {"moe_gate_up",
                              {{"Gate", gate.name},
                               {"Up", up.name},
                               {"SharedGate", b.format(m.own_gate).name},
                               {"SharedUp", b.format(m.own_up).name},
                               {"kUsed", constant(m.used)},
                               {"kRows", constant(m.inner)},
                               {"kSharedRows", constant(m.own_inner)},
                               {"kCols", constant(m.width)},
                               {"kQuantisedInput", constant(in.quantised)},
                               {"kQuantisedOutput", constant(quantised)},
                               {"kNormed", constant(in.due)},
                               {"kEps", constant(in.eps)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(op.outputs[0]), ids, b.tiles(m.gate), b.tiles(m.up),
                              m.shared ? b.tiles(m.own_gate) : b.none(),
                              m.shared ? b.tiles(m.own_up) : b.none(), in.value, in.squares, act},
                     .groups = {static_cast<uint32_t>(row_tiles), static_cast<uint32_t>(slots), 1},
                     .threads = static_cast<uint32_t>(32 * waves)};
    const int64_t rows = m.used * m.inner + m.own_inner;
    step.cost.weight_bytes =
        m.used * (tiles_bytes(gate, m.inner, m.width) + tiles_bytes(up, m.inner, m.width));
    if (m.shared)
        step.cost.weight_bytes += tiles_bytes(b.format(m.own_gate), m.own_inner, m.width) +
                                  tiles_bytes(b.format(m.own_up), m.own_inner, m.width);
    step.cost.activation_bytes = form_bytes(in.quantised, m.width) + form_bytes(quantised, rows);
    step.cost.operations = 4 * rows * m.width;
    b.emit(std::move(step));
}

void lower_moe_step(PlanBuilder& b, const Op& op) {
    const MoeStep m(b, op);
    const ValueId h = op.outputs[0];
    const bool normed = op.outputs.size() > 1;
    const FusedInput in = in_normed(b, op.inputs[0], op);
    const bool quantised =
        b.options.activations == Activations::kQuantised && b.format(m.down).integer;
    const PlanArg ids = b.scratch(m.used * 4), shares = b.scratch((m.used + 1) * 4);
    const PlanArg act = b.scratch(form_bytes(quantised, m.used * m.inner + m.own_inner));
    lower_route(b, op, m, in, ids, shares);
    lower_gate_up(b, op, m, in, quantised, ids, act);

    const PlanArg residual = b.in(op.inputs[1]);
    const PlanArg after = b.out(h);
    const Normed next = normed ? out_normed(b, op.outputs[1]) : Normed{b.none(), b.none(), false};
    const int64_t slots = m.used + (m.shared ? 1 : 0);
    const int waves = b.waves("moe_down", static_cast<int>(std::min<int64_t>(16, slots)));
    const QuantFormat &down = b.format(m.down), &own = b.format(m.own_down);
    EmittedStep step{
        .label = b.name(h),
        .spec = {"moe_down",
                 {{"Quant", down.name},
                  {"Shared", own.name},
                  {"kUsed", constant(m.used)},
                  {"kRows", constant(m.width)},
                  {"kCols", constant(m.inner)},
                  {"kSharedCols", constant(m.own_inner)},
                  {"kSharedGate", constant(m.shared_gate)},
                  {"kQuantisedInput", constant(quantised)},
                  {"kNormed", constant(normed)},
                  {"kQuantisedOutput", constant(next.quantised)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(h), ids, shares, b.tiles(m.down), m.shared ? b.tiles(m.own_down) : b.none(),
                 act, residual, normed ? b.raw(m.next_norm) : b.none(), after, next.value,
                 next.squares},
        .groups = {static_cast<uint32_t>(m.width / 32), 1, 1},
        .threads = static_cast<uint32_t>(32 * waves)};
    step.cost.weight_bytes = m.used * tiles_bytes(down, m.width, m.inner) +
                             (m.shared ? tiles_bytes(own, m.width, m.own_inner) : 0) +
                             (normed ? m.width * 4 : 0);
    step.cost.activation_bytes = form_bytes(quantised, m.used * m.inner + m.own_inner) +
                                 m.width * 8 + (normed ? form_bytes(next.quantised, m.width) : 0);
    step.cost.operations = 2 * m.width * (m.used * m.inner + m.own_inner);
    b.emit(std::move(step));
}

const RegisterLowering kHybridStepLowerings[] = {
    RegisterLowering{{.layer = "delta_step", .variant = "one launch", .emit = lower_delta_step}},
    RegisterLowering{{.layer = "moe_step", .variant = "three launches", .emit = lower_moe_step}},
};

}  // namespace
}  // namespace hetune
