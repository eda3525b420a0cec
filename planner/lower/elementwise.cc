// Embedding, norms over the hidden width, element by element kernels, and last_row.
#include "planner/lower/lowerings.h"
#include "planner/lower/matrix.h"

namespace hetune {
namespace {

int row_waves(const PlanBuilder& b, const char* kernel, int64_t cols) {
    return b.waves(kernel, cols >= 4096 ? 16 : cols >= 1024 ? 8 : 4);
}

void lower_embed(PlanBuilder& b, const ops::Embed& op) {
    const ValueId y = op.y;
    const QuantFormat& format = b.format(op.table);
    const int waves = b.waves("embed", 2);
    EmittedStep step{.label = b.name(y),
                     .spec = {"embed",
                              {{"Quant", format.name},
                               {"kRows", constant(b.tensor_rows(op.table))},
                               {"kCols", constant(b.width(y))},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(y), b.tiles(op.table), b.tokens(), b.out(y)},
                     .groups = {static_cast<uint32_t>(b.rows(y)), 1, 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = 0};
    step.cost.weight_bytes = b.rows(y) * b.width(y) / format.block_elems * format.block_bytes;
    step.cost.activation_bytes = b.rows(y) * b.width(y) * 4;
    b.emit(std::move(step));
}

void lower_rmsnorm(PlanBuilder& b, const ops::RmsNorm& op) {
    const ValueId x = op.x, y = op.y;
    const int waves = row_waves(b, "rmsnorm", b.width(x));
    const PlanArg in = b.in(x);
    EmittedStep step{.label = b.name(y),
                     .spec = {"rmsnorm",
                              {{"kCols", constant(b.width(x))},
                               {"kEps", constant(op.eps)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(x), in, b.raw(op.weight), b.out(y)},
                     .groups = {static_cast<uint32_t>(b.rows(x)), 1, 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = b.rows(x) > 1 ? 0 : -1};
    step.cost.weight_bytes = b.width(x) * 4;
    step.cost.activation_bytes = 2 * b.rows(x) * b.width(x) * 4;
    step.cost.operations = 4 * b.rows(x) * b.width(x);
    b.emit(std::move(step));
}

void lower_scale(PlanBuilder& b, const ops::Scale& op) {
    const ValueId y = op.y;
    const int waves = b.waves("scale", 4);
    const bool bias = !op.bias.empty();
    const PlanArg in = b.in(op.x);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"scale",
                 {{"kCols", constant(b.width(y))},
                  {"kBias", constant(bias)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(y), in, b.raw(op.factor), bias ? b.raw(op.bias) : b.none(), b.out(y)},
        .groups = {ceil_div(b.width(y), 32 * waves), static_cast<uint32_t>(b.rows(y)), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = b.rows(y) > 1 ? 1 : -1};
    step.cost.weight_bytes = 4 + (bias ? b.width(y) * 4 : 0);
    step.cost.activation_bytes = 2 * b.rows(y) * b.width(y) * 4;
    step.cost.operations = b.rows(y) * b.width(y);
    b.emit(std::move(step));
}

void emit_binary(PlanBuilder& b, const char* functor, ValueId x, ValueId other, ValueId y) {
    const int waves = b.waves("binary", 4);
    const PlanArg first = b.in(x);
    const PlanArg second = b.in(other);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"binary",
                 {{"Op", functor}, {"kCols", constant(b.width(y))}, {"kWaves", constant(waves)}}},
        .args = {b.step(y), first, second, b.out(y)},
        .groups = {ceil_div(b.width(y), 32 * waves), static_cast<uint32_t>(b.rows(y)), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = b.rows(y) > 1 ? 1 : -1};
    step.cost.activation_bytes = 3 * b.rows(y) * b.width(y) * 4;
    step.cost.operations = b.rows(y) * b.width(y);
    b.emit(std::move(step));
}

void lower_add(PlanBuilder& b, const ops::Add& op) { emit_binary(b, "Add", op.a, op.b, op.y); }
void lower_silu_mul(PlanBuilder& b, const ops::SiluMul& op) {
    emit_binary(b, "SiluMul", op.gate, op.up, op.y);
}
void lower_sigmoid_mul(PlanBuilder& b, const ops::SigmoidMul& op) {
    emit_binary(b, "SigmoidMul", op.x, op.gate, op.y);
}

// The row that the logits are for. Behind it a step has one row, counted by a StepState of its own
// that the same kernel writes, so that a captured graph needs no help from the host.
void lower_last_row(PlanBuilder& b, const ops::LastRow& op) {
    const ValueId x = op.x, y = op.y;
    if (b.options.rows == 1 || b.options.each_row()) return b.alias(y, x);
    const PlanArg in = b.in(x);
    b.emit({.label = b.name(y),
            .spec = {"take_row", {{"kCols", constant(b.width(x))}}},
            .args = {b.step(x), in, b.out(y), b.step(y)},
            .groups = {ceil_div(b.width(x), 32), 1, 1}});
}

}  // namespace

Lowerings<ops::Embed> lowerings(const ops::Embed&) {
    static const Lowering<ops::Embed> list[] = {{.variant = "rows", .emit = lower_embed}};
    return list;
}
Lowerings<ops::RmsNorm> lowerings(const ops::RmsNorm&) {
    static const Lowering<ops::RmsNorm> list[] = {kNormOfHalves,
                                                  {.variant = "row", .emit = lower_rmsnorm}};
    return list;
}
Lowerings<ops::Scale> lowerings(const ops::Scale&) {
    static const Lowering<ops::Scale> list[] = {{.variant = "row", .emit = lower_scale}};
    return list;
}
Lowerings<ops::Add> lowerings(const ops::Add&) {
    static const Lowering<ops::Add> list[] = {{.variant = "binary", .emit = lower_add}};
    return list;
}
Lowerings<ops::SiluMul> lowerings(const ops::SiluMul&) {
    static const Lowering<ops::SiluMul> list[] = {{.variant = "binary", .emit = lower_silu_mul}};
    return list;
}
Lowerings<ops::SigmoidMul> lowerings(const ops::SigmoidMul&) {
    static const Lowering<ops::SigmoidMul> list[] = {
        {.variant = "binary", .emit = lower_sigmoid_mul}};
    return list;
}
Lowerings<ops::LastRow> lowerings(const ops::LastRow&) {
    static const Lowering<ops::LastRow> list[] = {{.variant = "copy", .emit = lower_last_row}};
    return list;
}

}  // namespace hetune
