// y = W x + bias as one kernel: a GEMV for one row, a slim GEMM for more.
#include "planner/lower/linear.h"

#include <algorithm>

#include "planner/lower/lowerings.h"
#include "planner/lower/matrix.h"

namespace hetune {

LinearInput linear_input(PlanBuilder& b, ValueId x, std::initializer_list<std::string> weights) {
    const bool quantised = b.options.activations == Activations::kQuantised &&
                           std::ranges::all_of(weights, [&](const std::string& tensor) {
                               return b.format(tensor).integer;
                           });
    return {b.in(x, quantised ? Form::kQuantised : Form::kFloat), quantised};
}

void emit_linear(PlanBuilder& b, const std::string& label, ValueId x, const LinearInput& input,
                 const ops::Weight& weight, const ops::Weight& bias, PlanArg y) {
    const QuantFormat& format = b.format(weight);
    const int64_t rows = b.tensor_rows(weight), cols = b.width(x);
    const int64_t row_tiles = (rows + 31) / 32;
    const int tokens = std::min(b.rows(x), b.tunable("gemv", "kTokens", 8));
    const int waves =
        b.tunable("gemv", "kWaves", default_waves(b.arch, row_tiles, cols / format.tile_elems));
    EmittedStep step{
        .label = label,
        .spec = {"gemv",
                 {{"Quant", format.name},
                  {"kRows", constant(rows)},
                  {"kCols", constant(cols)},
                  {"kTokens", constant(tokens)},
                  {"kQuantisedInput", constant(input.quantised)},
                  {"kBias", constant(!bias.empty())},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(x), b.tiles(weight), input.arg, bias.empty() ? b.none() : b.raw(bias), y},
        .groups = {static_cast<uint32_t>(row_tiles),
                   static_cast<uint32_t>((b.rows(x) + tokens - 1) / tokens), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = b.rows(x) > 1 ? 1 : -1,
        .rows_per_group = tokens};
    step.cost.weight_bytes = tiles_bytes(format, rows, cols) + (bias.empty() ? 0 : rows * 4);
    step.cost.activation_bytes =
        b.rows(x) * (rows * 4 + (input.quantised ? cols / 32 * kXBlockBytes : cols * 4));
    step.cost.operations = 2 * b.rows(x) * cols * rows;
    b.emit(std::move(step));
}

namespace {

void lower_linear(PlanBuilder& b, const ops::Linear& op) {
    const LinearInput input = linear_input(b, op.x, {op.weight});
    emit_linear(b, b.name(op.y), op.x, input, op.weight, op.bias, b.out(op.y));
}

}  // namespace

Lowerings<ops::Linear> lowerings(const ops::Linear&) {
    static const Lowering<ops::Linear> list[] = {kLinearByMatrix,
                                                 {.variant = "gemv", .emit = lower_linear}};
    return list;
}

}  // namespace hetune
