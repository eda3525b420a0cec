// y = W x + bias as one kernel: a GEMV for one row, a slim GEMM for more.
#include "planner/lowering.h"

namespace hetune {
namespace {

void lower_linear(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0];
    const ValueId y = op.outputs[0];
    const QuantFormat& format = b.format(op.weights[0]);
    const bool quantised = format.integer && b.options.activations == Activations::kQuantised;
    const bool bias = op.weights.size() > 1;
    const int64_t row_tiles = (b.width(y) + 31) / 32;
    const int tokens = std::min(b.rows(x), b.tunable("gemv", "kTokens", 8));
    const int waves = b.tunable("gemv", "kWaves",
                                default_waves(b.arch, row_tiles, b.width(x) / format.tile_elems));
    const PlanArg in = b.in(x, quantised ? Form::kQuantised : Form::kFloat);
    PlanStep step{.label = b.name(y),
                  .spec = {"gemv",
                           {{"Quant", format.name},
                            {"kRows", constant(b.width(y))},
                            {"kCols", constant(b.width(x))},
                            {"kTokens", constant(tokens)},
                            {"kQuantisedInput", constant(quantised)},
                            {"kBias", constant(bias)},
                            {"kWaves", constant(waves)}}},
                  .args = {b.step(x), b.tiles(op.weights[0]), in,
                           bias ? b.raw(op.weights[1]) : b.none(), b.out(y)},
                  .groups = {static_cast<uint32_t>(row_tiles),
                             static_cast<uint32_t>((b.rows(x) + tokens - 1) / tokens), 1},
                  .threads = static_cast<uint32_t>(32 * waves),
                  .rows_axis = b.rows(x) > 1 ? 1 : -1,
                  .rows_per_group = tokens};
    step.cost.weight_bytes = tiles_bytes(format, b.width(y), b.width(x)) + (bias ? b.width(y) * 4 : 0);
    step.cost.activation_bytes =
        b.rows(x) * (b.width(y) * 4 + (quantised ? b.width(x) / 32 * kXBlockBytes : b.width(x) * 4));
    step.cost.operations = 2 * b.rows(x) * b.width(x) * b.width(y);
    b.emit(std::move(step));
}

const RegisterLowering kLinear{{.layer = "linear", .variant = "gemv", .emit = lower_linear}};

}  // namespace
}  // namespace hetune
