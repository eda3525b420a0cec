// Embedding, norms over the hidden width, element by element kernels, and last_row.
#include "planner/lower/plan_builder.h"

namespace hetune {
namespace {

int row_waves(const PlanBuilder& b, const char* kernel, int64_t cols) {
    return b.waves(kernel, cols >= 4096 ? 16 : cols >= 1024 ? 8 : 4);
}

void lower_embed(PlanBuilder& b, const Op& op) {
    const ValueId y = op.outputs[0];
    const QuantFormat& format = b.format(op.weights[0]);
    const int waves = b.waves("embed", 2);
    EmittedStep step{.label = b.name(y),
                     .spec = {"embed",
                              {{"Quant", format.name},
                               {"kRows", constant(b.tensor_rows(op.weights[0]))},
                               {"kCols", constant(b.width(y))},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(y), b.tiles(op.weights[0]), b.tokens(), b.out(y)},
                     .groups = {static_cast<uint32_t>(b.rows(y)), 1, 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = 0};
    step.cost.weight_bytes = b.rows(y) * b.width(y) / format.block_elems * format.block_bytes;
    step.cost.activation_bytes = b.rows(y) * b.width(y) * 4;
    b.emit(std::move(step));
}

void lower_rmsnorm(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], y = op.outputs[0];
    const int waves = row_waves(b, "rmsnorm", b.width(x));
    const PlanArg in = b.in(x);
    EmittedStep step{.label = b.name(y),
                     .spec = {"rmsnorm",
                              {{"kCols", constant(b.width(x))},
                               {"kEps", constant(op.attribute("eps"))},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(x), in, b.raw(op.weights[0]), b.out(y)},
                     .groups = {static_cast<uint32_t>(b.rows(x)), 1, 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = b.rows(x) > 1 ? 0 : -1};
    step.cost.weight_bytes = b.width(x) * 4;
    step.cost.activation_bytes = 2 * b.rows(x) * b.width(x) * 4;
    step.cost.operations = 4 * b.rows(x) * b.width(x);
    b.emit(std::move(step));
}

void lower_scale(PlanBuilder& b, const Op& op) {
    const ValueId y = op.outputs[0];
    const int waves = b.waves("scale", 4);
    const bool bias = op.weights.size() > 1;
    const PlanArg in = b.in(op.inputs[0]);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"scale",
                 {{"kCols", constant(b.width(y))},
                  {"kBias", constant(bias)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(y), in, b.raw(op.weights[0]), bias ? b.raw(op.weights[1]) : b.none(),
                 b.out(y)},
        .groups = {ceil_div(b.width(y), 32 * waves), static_cast<uint32_t>(b.rows(y)), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = b.rows(y) > 1 ? 1 : -1};
    step.cost.weight_bytes = 4 + (bias ? b.width(y) * 4 : 0);
    step.cost.activation_bytes = 2 * b.rows(y) * b.width(y) * 4;
    step.cost.operations = b.rows(y) * b.width(y);
    b.emit(std::move(step));
}

auto lower_binary(const char* functor) {
    return [functor](PlanBuilder& b, const Op& op) {
        const ValueId y = op.outputs[0];
        const int waves = b.waves("binary", 4);
        const PlanArg first = b.in(op.inputs[0]);
        const PlanArg second = b.in(op.inputs[1]);
        EmittedStep step{
            .label = b.name(y),
            .spec = {"binary",
                     {{"Op", functor},
                      {"kCols", constant(b.width(y))},
                      {"kWaves", constant(waves)}}},
            .args = {b.step(y), first, second, b.out(y)},
            .groups = {ceil_div(b.width(y), 32 * waves), static_cast<uint32_t>(b.rows(y)), 1},
            .threads = static_cast<uint32_t>(32 * waves),
            .rows_axis = b.rows(y) > 1 ? 1 : -1};
        step.cost.activation_bytes = 3 * b.rows(y) * b.width(y) * 4;
        step.cost.operations = b.rows(y) * b.width(y);
        b.emit(std::move(step));
    };
}

// The row that the logits are for. Behind it a step has one row, counted by a StepState of its own
// that the same kernel writes, so that a captured graph needs no help from the host.
void lower_last_row(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], y = op.outputs[0];
    if (b.options.rows == 1 || b.options.all_logits) return b.alias(y, x);
    const PlanArg in = b.in(x);
    b.emit({.label = b.name(y),
            .spec = {"take_row", {{"kCols", constant(b.width(x))}}},
            .args = {b.step(x), in, b.out(y), b.step(y)},
            .groups = {ceil_div(b.width(x), 32), 1, 1}});
}

const RegisterLowering kElementwiseLowerings[] = {
    RegisterLowering{{.layer = "embed", .variant = "rows", .emit = lower_embed}},
    RegisterLowering{{.layer = "rmsnorm", .variant = "row", .emit = lower_rmsnorm}},
    RegisterLowering{{.layer = "scale", .variant = "row", .emit = lower_scale}},
    RegisterLowering{{.layer = "add", .variant = "binary", .emit = lower_binary("Add")}},
    RegisterLowering{{.layer = "silu_mul", .variant = "binary", .emit = lower_binary("SiluMul")}},
    RegisterLowering{
        {.layer = "sigmoid_mul", .variant = "binary", .emit = lower_binary("SigmoidMul")}},
    RegisterLowering{{.layer = "last_row", .variant = "copy", .emit = lower_last_row}},
};

}  // namespace
}  // namespace hetune
