// Mixture of experts: a router whose choice stays on the device, and products with the active
// experts' pieces of the stacked matrices.
#include <fmt/format.h>

#include <algorithm>

#include "planner/lower/linear.h"

namespace hetune {
namespace {

uint32_t ceil_div(int64_t a, int64_t b) { return static_cast<uint32_t>((a + b - 1) / b); }

void lower_router(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], ids = op.outputs[0], shares = op.outputs[1];
    const int64_t experts = op.integer("experts"), used = op.integer("used");
    const auto rows = static_cast<uint32_t>(b.rows(x));
    if (used > 32)
        throw ModelError(fmt::format("{}: {} experts per token; the router kernel takes up to 32",
                                     b.file.path().string(), used));
    const LinearInput input = linear_input(b, x, op.weights);
    const PlanArg logits = b.scratch(int64_t{rows} * experts * 4);
    emit_linear(b, b.name(ids) + ".logits", x, input, op.weights, logits);
    PlanStep step{.label = b.name(ids),
                  .spec = {"router",
                           {{"kExperts", constant(experts)},
                            {"kUsed", constant(used)},
                            {"kRenormalise", constant(op.integer("renormalise") != 0)}}},
                  .args = {b.step(x), logits, b.out(ids, Form::kIds), b.out(shares)},
                  .groups = {rows, 1, 1},
                  .rows_axis = rows > 1 ? 0 : -1};
    step.cost.activation_bytes = rows * (experts + 2 * used) * 4;
    step.cost.operations = rows * experts * (used + 4);
    b.emit(std::move(step));
}

// Rows of one expert in a stack of them, which must be whole tiles for an expert to start at one.
int64_t expert_rows(const PlanBuilder& b, const std::string& tensor, int64_t experts) {
    const int64_t rows = b.tensor_rows(tensor) / experts;
    if (rows % 32 != 0)
        throw ModelError(
            fmt::format("{}: tensor '{}' has {} rows per expert; hetune needs a multiple "
                        "of 32",
                        b.file.path().string(), tensor, rows));
    return rows;
}

void lower_experts(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], ids = op.inputs[1], shares = op.inputs[2], y = op.outputs[0];
    const std::string &gate = op.weights[0], &up = op.weights[1], &down = op.weights[2];
    const int64_t experts = op.integer("experts"), used = op.integer("used");
    const int64_t inner = expert_rows(b, gate, experts);
    const int64_t hidden = expert_rows(b, down, experts);
    const auto rows = static_cast<uint32_t>(b.rows(x));
    const int64_t active = std::min<int64_t>(experts, rows * used);  // at most
    const LinearInput input = linear_input(b, x, std::span(op.weights).first(2));
    const bool quantised =
        b.options.activations == Activations::kQuantised && b.format(down).integer;
    const int64_t act_bytes = rows * used * (quantised ? inner / 32 * kXBlockBytes : inner * 4);
    const PlanArg act = b.scratch(act_bytes);
    const PlanArg chosen = b.in(ids, Form::kIds);

    const int64_t groups = inner / 32 * used * rows;
    const int up_waves = std::min(
        8, b.tunable("experts_gate_up", "kWaves",
                     default_waves(b.arch, groups, b.width(x) / b.format(gate).tile_elems)));
    PlanStep gate_up{
        .label = b.name(y) + ".gate_up",
        .spec = {"experts_gate_up",
                 {{"Gate", b.format(gate).name},
                  {"Up", b.format(up).name},
                  {"kUsed", constant(used)},
                  {"kRows", constant(inner)},
                  {"kCols", constant(b.width(x))},
                  {"kQuantisedInput", constant(input.quantised)},
                  {"kQuantisedOutput", constant(quantised)},
                  {"kWaves", constant(up_waves)}}},
        .args = {b.step(x), chosen, b.tiles(gate), b.tiles(up), input.arg, act},
        .groups = {static_cast<uint32_t>(inner / 32), static_cast<uint32_t>(used), rows},
        .threads = static_cast<uint32_t>(32 * up_waves),
        .rows_axis = rows > 1 ? 2 : -1};
    gate_up.cost.weight_bytes = active * (tiles_bytes(b.format(gate), inner, b.width(x)) +
                                          tiles_bytes(b.format(up), inner, b.width(x)));
    gate_up.cost.activation_bytes =
        act_bytes + rows * (input.quantised ? b.width(x) / 32 * kXBlockBytes : b.width(x) * 4);
    gate_up.cost.operations = 4 * rows * used * inner * b.width(x);
    b.emit(std::move(gate_up));

    const int down_waves = b.tunable(
        "experts_down", "kWaves",
        b.arch.family == ArchFamily::kCpu ? 1 : static_cast<int>(std::min<int64_t>(8, used)));
    PlanStep out{.label = b.name(y),
                 .spec = {"experts_down",
                          {{"Quant", b.format(down).name},
                           {"kUsed", constant(used)},
                           {"kRows", constant(hidden)},
                           {"kCols", constant(inner)},
                           {"kQuantisedInput", constant(quantised)},
                           {"kWaves", constant(down_waves)}}},
                 .args = {b.step(x), chosen, b.in(shares), b.tiles(down), act, b.out(y)},
                 .groups = {static_cast<uint32_t>(hidden / 32), rows, 1},
                 .threads = static_cast<uint32_t>(32 * down_waves),
                 .rows_axis = rows > 1 ? 1 : -1};
    out.cost.weight_bytes = active * tiles_bytes(b.format(down), hidden, inner);
    out.cost.activation_bytes = act_bytes + rows * hidden * 4;
    out.cost.operations = 2 * rows * used * inner * hidden;
    b.emit(std::move(out));
}

void lower_scale_by_sigmoid(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], y = op.outputs[0];
    const int waves =
        b.tunable("scale_by_sigmoid", "kWaves", b.arch.family == ArchFamily::kCpu ? 1 : 4);
    const PlanArg in = b.in(x), gate = b.in(op.inputs[1]);
    PlanStep step{.label = b.name(y),
                  .spec = {"scale_by_sigmoid",
                           {{"kCols", constant(b.width(y))}, {"kWaves", constant(waves)}}},
                  .args = {b.step(x), in, gate, b.out(y)},
                  .groups = {ceil_div(b.width(y), 32 * waves), static_cast<uint32_t>(b.rows(y)), 1},
                  .threads = static_cast<uint32_t>(32 * waves),
                  .rows_axis = b.rows(y) > 1 ? 1 : -1};
    step.cost.activation_bytes = 2 * b.rows(y) * b.width(y) * 4;
    step.cost.operations = b.rows(y) * b.width(y);
    b.emit(std::move(step));
}

const RegisterLowering kLowerings[] = {
    RegisterLowering{{.layer = "router", .variant = "wave", .emit = lower_router}},
    RegisterLowering{{.layer = "experts", .variant = "per_token", .emit = lower_experts}},
    RegisterLowering{
        {.layer = "scale_by_sigmoid", .variant = "row", .emit = lower_scale_by_sigmoid}},
};

}  // namespace
}  // namespace hetune
