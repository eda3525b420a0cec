#include "planner/lower/matrix.h"

#include <algorithm>
#include <optional>

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

namespace {

// y = weight x (+ bias) (+ residual); y is float.
struct Gemm {
    std::string label;
    ValueId x;
    ops::Weight weight, bias = {};
    std::optional<PlanArg> residual = {};
    PlanArg y;
};

void emit_gemm(PlanBuilder& b, const Gemm& gemm) {
    const ValueId x = gemm.x;
    const QuantFormat& format = b.format(gemm.weight);
    const int64_t rows = b.tensor_rows(gemm.weight), cols = b.width(x);
    const bool bias = !gemm.bias.empty(), residual = gemm.residual.has_value();
    const GemmTile tile = gemm_tile(b, "gemm", b.rows(x), rows);
    const PlanArg halves = b.in(x, Form::kHalf);
    EmittedStep step{
        .label = gemm.label,
        .spec = {"gemm",
                 {{"Quant", format.name},
                  {"kRows", constant(rows)},
                  {"kCols", constant(cols)},
                  {"kBias", constant(bias)},
                  {"kResidual", constant(residual)},
                  {"kTileM", constant(tile.m)},
                  {"kTileN", constant(tile.n)},
                  {"kWaves", constant(tile.waves)}}},
        .args = {b.step(x), b.tiles(gemm.weight), halves, bias ? b.raw(gemm.bias) : b.none(),
                 gemm.residual.value_or(b.none()), gemm.y},
        .groups = {ceil_div(rows, tile.n), ceil_div(b.rows(x), tile.m), 1},
        .threads = static_cast<uint32_t>(32 * tile.waves),
        .rows_axis = 1,
        .rows_per_group = tile.m};
    step.cost.weight_bytes = tiles_bytes(format, rows, cols) + (bias ? rows * 4 : 0);
    step.cost.activation_bytes =
        half_bytes(b.rows(x), cols) + b.rows(x) * rows * (residual ? 8 : 4);
    step.cost.operations = 2 * b.rows(x) * cols * rows;
    b.emit(std::move(step));
}

bool linear_fits(const PlanBuilder& b, const ops::Linear& op) {
    return by_matrix(b, op.x, b.tensor_rows(op.weight));
}
bool linear_add_fits(const PlanBuilder& b, const ops::LinearAdd& op) {
    return by_matrix(b, op.x, b.tensor_rows(op.weight));
}
bool swiglu_fits(const PlanBuilder& b, const ops::Swiglu& op) {
    return by_matrix(b, op.x, b.tensor_rows(op.gate));
}

void lower_gemm(PlanBuilder& b, const ops::Linear& op) {
    const PlanArg y = b.out(op.y);
    emit_gemm(b, {.label = b.name(op.y), .x = op.x, .weight = op.weight, .bias = op.bias, .y = y});
}

void lower_gemm_residual(PlanBuilder& b, const ops::LinearAdd& op) {
    const PlanArg residual = b.in(op.residual);
    const PlanArg y = b.out(op.y);
    emit_gemm(
        b, {.label = b.name(op.y), .x = op.x, .weight = op.weight, .residual = residual, .y = y});
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

void lower_gemm_swiglu(PlanBuilder& b, const ops::Swiglu& op) {
    const ValueId x = op.x, y = op.y;
    const int64_t cols = b.width(x), rows = b.width(y);
    const QuantFormat& format = b.format(op.gate);
    if (&format != &b.format(op.up)) {
        const PlanArg gate = b.scratch(b.rows(y) * rows * 4), up = b.scratch(b.rows(y) * rows * 4);
        emit_gemm(b, {.label = b.name(y) + ".gate", .x = x, .weight = op.gate, .y = gate});
        emit_gemm(b, {.label = b.name(y) + ".up", .x = x, .weight = op.up, .y = up});
        emit_silu_mul(b, y, gate, up, b.out(y));
        return;
    }
    const GemmTile tile = gemm_tile(b, "gemm_swiglu", b.rows(x), rows, 2);
    const PlanArg halves = b.in(x, Form::kHalf);
    EmittedStep step{.label = b.name(y),
                     .spec = {"gemm_swiglu",
                              {{"Quant", format.name},
                               {"kRows", constant(rows)},
                               {"kCols", constant(cols)},
                               {"kTileM", constant(tile.m)},
                               {"kTileN", constant(tile.n / 2)},
                               {"kWaves", constant(tile.waves)}}},
                     .args = {b.step(x), b.tiles(op.gate), b.tiles(op.up), halves, b.out(y)},
                     .groups = {ceil_div(rows, tile.n / 2), ceil_div(b.rows(x), tile.m), 1},
                     .threads = static_cast<uint32_t>(32 * tile.waves),
                     .rows_axis = 1,
                     .rows_per_group = tile.m};
    step.cost.weight_bytes = 2 * tiles_bytes(format, rows, cols);
    step.cost.activation_bytes = half_bytes(b.rows(x), cols) + b.rows(x) * rows * 4;
    step.cost.operations = 4 * b.rows(x) * cols * rows;
    b.emit(std::move(step));
}

// Whether an op takes half rows of a value.
bool reads_halves(const PlanBuilder& b, const Op& op, ValueId value) {
    if (const auto* linear = std::get_if<ops::Linear>(&op))
        return linear->x == value && linear_fits(b, *linear);
    if (const auto* add = std::get_if<ops::LinearAdd>(&op))
        return add->x == value && linear_add_fits(b, *add);
    if (const auto* swiglu = std::get_if<ops::Swiglu>(&op))
        return swiglu->x == value && swiglu_fits(b, *swiglu);
    if (const auto* experts = std::get_if<ops::Experts>(&op))
        return experts->x == value && experts_by_matrix(b, *experts);
    return false;
}

bool norm_fits(const PlanBuilder& b, const ops::RmsNorm& op) {
    return std::ranges::any_of(b.ops,
                               [&](const Op& reader) { return reads_halves(b, reader, op.y); });
}

void lower_norm(PlanBuilder& b, const ops::RmsNorm& op) {
    const ValueId x = op.x, y = op.y;
    const int64_t cols = b.width(x);
    const bool floats = std::ranges::any_of(
        b.ops, [&](const Op& reader) { return reads(reader, y) && !reads_halves(b, reader, y); });
    const int waves = b.tunable("half_rows", "kWaves", half_rows_waves(b.arch, cols));
    const PlanArg in = b.in(x);
    const PlanArg as_floats = floats ? b.out(y) : b.none();
    EmittedStep step{.label = b.name(y),
                     .spec = {"half_rows",
                              {{"kCols", constant(cols)},
                               {"kPerRow", constant(1)},
                               {"kNorm", constant(true)},
                               {"kEps", constant(op.eps)},
                               {"kFloats", constant(floats)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(x), in, b.raw(op.weight), as_floats, b.out(y, Form::kHalf)},
                     .groups = {static_cast<uint32_t>(b.rows(x)), 1, 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = 0};
    step.cost.weight_bytes = cols * 4;
    step.cost.activation_bytes = b.rows(x) * cols * (floats ? 8 : 4) + half_bytes(b.rows(x), cols);
    step.cost.operations = 4 * b.rows(x) * cols;
    b.emit(std::move(step));
}

}  // namespace

constinit const Lowering<ops::Linear> kLinearByMatrix = {
    .variant = "gemm", .fits = linear_fits, .emit = lower_gemm};
constinit const Lowering<ops::LinearAdd> kLinearAddByMatrix = {
    .variant = "gemm", .fits = linear_add_fits, .emit = lower_gemm_residual};
constinit const Lowering<ops::Swiglu> kSwigluByMatrix = {
    .variant = "gemm_swiglu", .fits = swiglu_fits, .emit = lower_gemm_swiglu};
constinit const Lowering<ops::RmsNorm> kNormOfHalves = {
    .variant = "half rows", .fits = norm_fits, .emit = lower_norm};

}  // namespace hetune
