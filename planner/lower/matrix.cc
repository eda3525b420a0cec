#include "planner/lower/matrix.h"

#include <algorithm>

namespace hetune {
namespace {

constexpr int64_t kUsualRows = 512;

// Narrow matrices leave most of a tile empty.
constexpr int64_t kNarrow = 64;

int64_t half_bytes(int64_t rows, int64_t cols) { return rows * (cols * 2 + 16); }

}  // namespace

GemmTile gemm_tile(const PlanBuilder& b, const std::string& kernel, int64_t rows, int64_t cols,
                   int matrices) {
    // From the one that reads least for each product to the one that makes most groups.
    constexpr GemmTile kTiles[] = {{128, 128, 4}, {64, 128, 4}, {32, 128, 4}};
    const bool large = b.arch.tile_of_128 && rows > 64;
    GemmTile best = kTiles[1];
    for (const GemmTile& tile : kTiles) {
        if (tile.m == 128 && !large) continue;
        best = tile;
        // Two groups fit on an SM and three on a WGP (two units); a prompt may have fewer rows than
        // the plan, but is seldom shorter than this.
        const int64_t groups =
            ceil_div(std::min(rows, kUsualRows), tile.m) * ceil_div(cols * matrices, tile.n);
        if (2 * groups >= 3 * b.arch.compute_units) break;
    }
    best.m = b.tunable(kernel, "kTileM", best.m);
    best.n = b.tunable(kernel, "kTileN", best.n / matrices) * matrices;
    best.waves = b.tunable(kernel, "kWaves", best.waves);
    return best;
}

bool by_matrix(const PlanBuilder& b, ValueId x, int64_t matrix_rows) {
    return b.options.by_matrix() && b.rows(x) >= kMatrixRows && matrix_rows >= kNarrow &&
           b.width(x) % 32 == 0;
}

void emit_gemm(PlanBuilder& b, const std::string& label, ValueId x,
               std::span<const std::string> weights, std::optional<PlanArg> residual, PlanArg y) {
    const QuantFormat& format = b.format(weights[0]);
    const int64_t rows = b.tensor_rows(weights[0]), cols = b.width(x);
    const bool bias = weights.size() > 1;
    const GemmTile tile = gemm_tile(b, "gemm", b.rows(x), rows);
    const PlanArg halves = b.in(x, Form::kHalf);
    EmittedStep step{.label = label,
                     .spec = {"gemm",
                              {{"Quant", format.name},
                               {"kRows", constant(rows)},
                               {"kCols", constant(cols)},
                               {"kBias", constant(bias)},
                               {"kResidual", constant(residual.has_value())},
                               {"kTileM", constant(tile.m)},
                               {"kTileN", constant(tile.n)},
                               {"kWaves", constant(tile.waves)}}},
                     .args = {b.step(x), b.tiles(weights[0]), halves,
                              bias ? b.raw(weights[1]) : b.none(), residual.value_or(b.none()), y},
                     .groups = {ceil_div(rows, tile.n), ceil_div(b.rows(x), tile.m), 1},
                     .threads = static_cast<uint32_t>(32 * tile.waves),
                     .rows_axis = 1,
                     .rows_per_group = tile.m};
    step.cost.weight_bytes = tiles_bytes(format, rows, cols) + (bias ? rows * 4 : 0);
    step.cost.activation_bytes =
        half_bytes(b.rows(x), cols) + b.rows(x) * rows * (residual.has_value() ? 8 : 4);
    step.cost.operations = 2 * b.rows(x) * cols * rows;
    b.emit(std::move(step));
}

namespace {

bool linear_fits(const PlanBuilder& b, const Op& op) {
    return by_matrix(b, op.inputs[0], b.tensor_rows(op.weights[0]));
}

void lower_gemm(PlanBuilder& b, const Op& op) {
    const PlanArg y = b.out(op.outputs[0]);
    emit_gemm(b, b.name(op.outputs[0]), op.inputs[0], op.weights, std::nullopt, y);
}

void lower_gemm_residual(PlanBuilder& b, const Op& op) {
    const PlanArg residual = b.in(op.inputs[1]);
    const PlanArg h = b.out(op.outputs[0]);
    emit_gemm(b, b.name(op.outputs[0]), op.inputs[0], op.weights, residual, h);
}

void emit_silu_mul(PlanBuilder& b, ValueId y, PlanArg gate, PlanArg up, PlanArg to) {
    constexpr int kWaves = 4;
    EmittedStep step{
        .label = b.name(y),
        .spec = {"binary",
                 {{"Op", "SiluMul"},
                  {"kCols", constant(b.width(y))},
                  {"kWaves", constant(kWaves)}}},
        .args = {b.step(y), gate, up, to},
        .groups = {ceil_div(b.width(y), 32 * kWaves), static_cast<uint32_t>(b.rows(y)), 1},
        .threads = 32 * kWaves,
        .rows_axis = 1};
    step.cost.activation_bytes = 3 * b.rows(y) * b.width(y) * 4;
    step.cost.operations = 5 * b.rows(y) * b.width(y);
    b.emit(std::move(step));
}

void lower_gemm_swiglu(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], y = op.outputs[0];
    const int64_t cols = b.width(x), rows = b.width(y);
    const QuantFormat& format = b.format(op.weights[0]);
    if (&format != &b.format(op.weights[1])) {
        const PlanArg gate = b.scratch(b.rows(y) * rows * 4), up = b.scratch(b.rows(y) * rows * 4);
        const std::span<const std::string> weights(op.weights);
        emit_gemm(b, b.name(y) + ".gate", x, weights.first(1), std::nullopt, gate);
        emit_gemm(b, b.name(y) + ".up", x, weights.last(1), std::nullopt, up);
        emit_silu_mul(b, y, gate, up, b.out(y));
        return;
    }
    const GemmTile tile = gemm_tile(b, "gemm_swiglu", b.rows(x), rows, 2);
    const PlanArg halves = b.in(x, Form::kHalf);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"gemm_swiglu",
                 {{"Quant", format.name},
                  {"kRows", constant(rows)},
                  {"kCols", constant(cols)},
                  {"kTileM", constant(tile.m)},
                  {"kTileN", constant(tile.n / 2)},
                  {"kWaves", constant(tile.waves)}}},
        .args = {b.step(x), b.tiles(op.weights[0]), b.tiles(op.weights[1]), halves, b.out(y)},
        .groups = {ceil_div(rows, tile.n / 2), ceil_div(b.rows(x), tile.m), 1},
        .threads = static_cast<uint32_t>(32 * tile.waves),
        .rows_axis = 1,
        .rows_per_group = tile.m};
    step.cost.weight_bytes = 2 * tiles_bytes(format, rows, cols);
    step.cost.activation_bytes = half_bytes(b.rows(x), cols) + b.rows(x) * rows * 4;
    step.cost.operations = 4 * b.rows(x) * cols * rows;
    b.emit(std::move(step));
}

// Whether `op`, which reads `value`, takes half rows of it.
bool reads_halves(const PlanBuilder& b, const Op& op, ValueId value) {
    if (op.inputs.empty() || op.inputs[0] != value) return false;
    if (op.kind == "experts") return experts_by_matrix(b, op);
    return (op.kind == "linear" || op.kind == "linear_add" || op.kind == "swiglu") &&
           linear_fits(b, op);
}

bool norm_fits(const PlanBuilder& b, const Op& op) {
    return std::ranges::any_of(
        b.graph.ops, [&](const Op& reader) { return reads_halves(b, reader, op.outputs[0]); });
}

void lower_norm(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], y = op.outputs[0];
    const int64_t cols = b.width(x);
    const bool floats = std::ranges::any_of(b.graph.ops, [&](const Op& reader) {
        return std::ranges::find(reader.inputs, y) != reader.inputs.end() &&
               !reads_halves(b, reader, y);
    });
    const int waves = b.tunable("half_rows", "kWaves", half_rows_waves(b.arch, cols));
    const PlanArg in = b.in(x);
    const PlanArg as_floats = floats ? b.out(y) : b.none();
    EmittedStep step{
        .label = b.name(y),
        .spec = {"half_rows",
                 {{"kCols", constant(cols)},
                  {"kPerRow", constant(1)},
                  {"kNorm", constant(true)},
                  {"kEps", constant(op.attribute("eps"))},
                  {"kFloats", constant(floats)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(x), in, b.raw(op.weights[0]), as_floats, b.out(y, Form::kHalf)},
        .groups = {static_cast<uint32_t>(b.rows(x)), 1, 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = 0};
    step.cost.weight_bytes = cols * 4;
    step.cost.activation_bytes = b.rows(x) * cols * (floats ? 8 : 4) + half_bytes(b.rows(x), cols);
    step.cost.operations = 4 * b.rows(x) * cols;
    b.emit(std::move(step));
}

constexpr int kPriority = 20;  // above the kernels for few rows

const RegisterLowering kMatrixLowerings[] = {
    RegisterLowering{{.layer = "linear",
                      .variant = "gemm",
                      .priority = kPriority,
                      .fits = linear_fits,
                      .emit = lower_gemm}},
    RegisterLowering{{.layer = "linear_add",
                      .variant = "gemm",
                      .priority = kPriority,
                      .fits = linear_fits,
                      .emit = lower_gemm_residual}},
    RegisterLowering{{.layer = "swiglu",
                      .variant = "gemm_swiglu",
                      .priority = kPriority,
                      .fits = linear_fits,
                      .emit = lower_gemm_swiglu}},
    RegisterLowering{{.layer = "rmsnorm",
                      .variant = "half rows",
                      .priority = kPriority,
                      .fits = norm_fits,
                      .emit = lower_norm}},
};

}  // namespace
}  // namespace hetune
