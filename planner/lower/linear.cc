// y = W x + bias as one kernel: a GEMV for one row, a slim GEMM for more.
#include "planner/lower/linear.h"

#include <algorithm>
#include <utility>

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

TokenTile token_tile(const PlanBuilder& b, const char* kernel, ValueId x, bool quantised) {
    constexpr int kMost = 8;
    const int rows = b.rows(x);
    if (!b.options.decodes()) return {std::min(rows, b.tunable(kernel, "kTokens", kMost)), false};
    // A tunable for one row says nothing of how many of a batch share the weights.
    int refusals = b.batch_refusals(kernel);
    if (quantised && b.options.matrix && b.arch.int_matrix_rows > 0 &&
        rows >= b.arch.int_matrix_rows) {
        // One group takes all rows of the step where int_matrix_tokens allows it.
        int most = b.arch.int_matrix_tokens;
        while (most / 2 >= std::max(rows, kMost)) most /= 2;
        for (int tokens = most; tokens >= kMost; tokens /= 2)
            if (refusals-- == 0) return {tokens, true, b.arch.int_matrix_tiles};
    }
    return {std::max(std::min(rows, kMost) >> refusals, 1), false};
}

KernelSpec product_spec(std::string kernel, const TokenTile& tile, bool quantised,
                        std::map<std::string, std::string> constants) {
    constants["kTokens"] = constant(tile.tokens);
    constants["kMatrix"] = constant(tile.matrix);
    constants["kQuantisedInput"] = constant(quantised);
    constants["kTiledInput"] = constant(tile.tiled);
    return {std::move(kernel), std::move(constants)};
}

PlanArg input_of(PlanBuilder& b, const TokenTile& tile, ValueId x, PlanArg arg) {
    return tile.tiled ? b.in_tiles(x) : arg;
}

void emit_linear(PlanBuilder& b, const std::string& label, ValueId x, const LinearInput& input,
                 const ops::Weight& weight, const ops::Weight& bias, PlanArg y) {
    const QuantFormat& format = b.format(weight);
    const int64_t rows = b.tensor_rows(weight), cols = b.width(x);
    const int64_t row_tiles = (rows + 31) / 32;
    const TokenTile tile = token_tile(b, "gemv", x, input.quantised);
    const int tokens = tile.tokens;
    const int waves =
        b.tunable("gemv", "kWaves", default_waves(b.arch, row_tiles, cols / format.tile_elems));
    EmittedStep step{.label = label,
                     .spec = product_spec("gemv", tile, input.quantised,
                                          {{"Quant", format.name},
                                           {"kRows", constant(rows)},
                                           {"kCols", constant(cols)},
                                           {"kBias", constant(!bias.empty())},
                                           {"kWaves", constant(waves)}}),
                     .args = {b.step(x), b.tiles(weight), input_of(b, tile, x, input.arg),
                              bias.empty() ? b.none() : b.raw(bias), y},
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
