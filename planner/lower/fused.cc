// Kernels of the fused ops (planner/fusion).
#include <algorithm>

#include "planner/lower/linear.h"
#include "planner/lower/lowerings.h"
#include "planner/lower/matrix.h"
#include "planner/lower/normed.h"

namespace hetune {
namespace {

constexpr size_t kFanWidth = 4;  // products of gemv_fan

int waves_of(const PlanBuilder& b, const char* kernel, int64_t tiles, int64_t cols,
             const std::string& weight) {
    const int64_t steps = cols / b.format(weight).tile_elems;
    int waves = default_waves(b.arch, tiles, steps);
    if (const int most = b.arch.gemv_waves_when_full; most > 0 && tiles > b.arch.compute_units)
        waves = std::min(std::max(waves, steps >= 16 ? 2 : 1), most);
    return b.tunable(kernel, "kWaves", waves);
}

void set_grid(EmittedStep& step, const PlanBuilder& b, ValueId x, int64_t tiles, int tokens,
              int waves) {
    step.groups[0] = static_cast<uint32_t>(tiles);
    step.groups[1] = ceil_div(b.rows(x), tokens);
    step.threads = static_cast<uint32_t>(32 * waves);
    step.rows_axis = b.rows(x) > 1 ? 1 : -1;
    step.rows_per_group = tokens;
}

void lower_fan(PlanBuilder& b, const ops::LinearFan& op) {
    const ValueId x = op.x;
    const size_t count = op.products.size();
    const int64_t cols = b.width(x);
    const bool bias = !op.products[0].bias.empty();
    const FusedInput in = in_normed(b, op);
    int64_t tiles = 0;
    for (const ops::FanProduct& product : op.products) tiles += ceil_div(b.width(product.y), 32);
    const TokenTile tile = token_tile(b, "gemv_fan", x, in.quantised);
    const int tokens = tile.tokens;
    const int waves = waves_of(b, "gemv_fan", tiles, cols, op.products[0].weight);
    EmittedStep step{.label = b.name(op.products[0].y),
                     .spec = product_spec("gemv_fan", tile, in.quantised,
                                          {{"kCols", constant(cols)},
                                           {"kBias", constant(bias)},
                                           {"kNormed", constant(in.due)},
                                           {"kEps", constant(in.eps)},
                                           {"kWaves", constant(waves)}}),
                     .args = {b.step(x), input_of(b, tile, x, in.value), in.squares}};
    for (size_t i = 0; i < kFanWidth; ++i) {
        const ops::FanProduct& product = op.products[std::min(i, count - 1)];
        const QuantFormat& format = b.format(product.weight);
        const int64_t rows = i < count ? b.width(product.y) : 0;
        const std::string digit = std::to_string(i);
        step.spec.constants["Quant" + digit] = format.name;
        step.spec.constants["kRows" + digit] = constant(rows);
        step.args.push_back(i < count ? b.tiles(product.weight) : b.none());
        step.cost.weight_bytes += tiles_bytes(format, rows, cols);
        step.cost.activation_bytes += b.rows(x) * rows * 4;
        step.cost.operations += 2 * b.rows(x) * cols * rows;
    }
    for (size_t i = 0; i < kFanWidth; ++i)
        step.args.push_back(bias && i < count ? b.raw(op.products[i].bias) : b.none());
    for (size_t i = 0; i < kFanWidth; ++i)
        step.args.push_back(i < count ? b.out(op.products[i].y) : b.none());
    step.cost.activation_bytes += b.rows(x) * form_bytes(in.quantised, cols);
    set_grid(step, b, x, tiles, tokens, waves);
    b.emit(std::move(step));
}

void lower_swiglu(PlanBuilder& b, const ops::Swiglu& op) {
    const ValueId x = op.x, y = op.y;
    const int64_t cols = b.width(x), rows = b.width(y);
    const FusedInput in = in_normed(b, op);
    const bool quantised = output_quantised(b, y);
    const TokenTile tile = token_tile(b, "gemv_swiglu", x, in.quantised);
    const int tokens = tile.tokens;
    const int waves = std::min(8, waves_of(b, "gemv_swiglu", rows / 32, cols, op.gate));
    EmittedStep step{
        .label = b.name(y),
        .spec = product_spec("gemv_swiglu", tile, in.quantised,
                             {{"Gate", b.format(op.gate).name},
                              {"Up", b.format(op.up).name},
                              {"kRows", constant(rows)},
                              {"kCols", constant(cols)},
                              {"kQuantisedOutput", constant(quantised)},
                              {"kNormed", constant(in.due)},
                              {"kEps", constant(in.eps)},
                              {"kWaves", constant(waves)}}),
        .args = {b.step(x), b.tiles(op.gate), b.tiles(op.up), input_of(b, tile, x, in.value),
                 in.squares, b.out(y, quantised ? Form::kQuantised : Form::kFloat)}};
    for (const ops::Weight& weight : {op.gate, op.up})
        step.cost.weight_bytes += tiles_bytes(b.format(weight), rows, cols);
    step.cost.activation_bytes =
        b.rows(x) * (form_bytes(in.quantised, cols) + form_bytes(quantised, rows));
    step.cost.operations = 4 * b.rows(x) * cols * rows;
    set_grid(step, b, x, rows / 32, tokens, waves);
    b.emit(std::move(step));
}

// y = weight x + residual, and its norm where there is `norm`.
void emit_gemv_residual(PlanBuilder& b, ValueId x, ValueId residual, const ops::Weight& weight,
                        ValueId y, const ops::NextNorm* norm) {
    const bool normed = norm != nullptr;
    const int64_t cols = b.width(x), rows = b.width(y);
    const LinearInput in = linear_input(b, x, {weight});
    const PlanArg before = b.in(residual);
    const PlanArg after = b.out(y);
    const Normed next = normed ? out_normed(b, *norm) : Normed{b.none(), b.none(), false};
    const TokenTile tile = token_tile(b, "gemv_residual", x, in.quantised);
    const int tokens = tile.tokens;
    const int waves = waves_of(b, "gemv_residual", rows / 32, cols, weight);
    EmittedStep step{
        .label = b.name(y),
        .spec = product_spec("gemv_residual", tile, in.quantised,
                             {{"Quant", b.format(weight).name},
                              {"kRows", constant(rows)},
                              {"kCols", constant(cols)},
                              {"kNormed", constant(normed)},
                              {"kQuantisedOutput", constant(next.quantised)},
                              {"kWaves", constant(waves)}}),
        .args = {b.step(x), b.tiles(weight), input_of(b, tile, x, in.arg), before,
                 normed ? b.raw(norm->weight) : b.none(), after, next.value, next.squares}};
    step.cost.weight_bytes = tiles_bytes(b.format(weight), rows, cols) + (normed ? rows * 4 : 0);
    step.cost.activation_bytes = b.rows(x) * (form_bytes(in.quantised, cols) + rows * 8 +
                                              (normed ? form_bytes(next.quantised, rows) : 0));
    step.cost.operations = 2 * b.rows(x) * cols * rows;
    set_grid(step, b, x, rows / 32, tokens, waves);
    b.emit(std::move(step));
}

void lower_linear_add(PlanBuilder& b, const ops::LinearAdd& op) {
    emit_gemv_residual(b, op.x, op.residual, op.weight, op.y, nullptr);
}
void lower_linear_add_norm(PlanBuilder& b, const ops::LinearAddNorm& op) {
    emit_gemv_residual(b, op.x, op.residual, op.weight, op.y, &op.next);
}

void lower_embed_norm(PlanBuilder& b, const ops::EmbedNorm& op) {
    const ValueId h = op.y;
    const QuantFormat& format = b.format(op.table);
    const int waves = b.waves("embed_norm", 4);
    const PlanArg to = b.out(h);
    const Normed next = out_normed(b, op.next);
    EmittedStep step{.label = b.name(h),
                     .spec = {"embed_norm",
                              {{"Quant", format.name},
                               {"kRows", constant(b.tensor_rows(op.table))},
                               {"kCols", constant(b.width(h))},
                               {"kQuantisedOutput", constant(next.quantised)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(h), b.tiles(op.table), b.tokens(), b.raw(op.next.weight), to,
                              next.value, next.squares},
                     .groups = {static_cast<uint32_t>(b.rows(h)), 1, 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = 0};
    step.cost.weight_bytes = b.rows(h) * b.width(h) / format.block_elems * format.block_bytes;
    step.cost.activation_bytes =
        b.rows(h) * (b.width(h) * 4 + form_bytes(next.quantised, b.width(h)));
    b.emit(std::move(step));
}

void lower_attention_step(PlanBuilder& b, const ops::AttentionStep& op) {
    const ValueId y = op.y;
    const int64_t heads = op.heads, kv_heads = op.kv_heads;
    const int64_t head_size = op.head_size;
    const bool norm = !op.q_norm.empty();
    const bool quantised = output_quantised(b, y) && head_size % 32 == 0;
    const PlanArg q = b.in(op.q), k = b.in(op.k), v = b.in(op.v);
    const int waves = b.waves("attention_step", b.arch.attention_waves);
    const int64_t group = heads / kv_heads;
    const int parts = b.tunable("attention_step", "kParts",
                                group % 2 == 0 && group > b.arch.attention_heads_of_lane ? 2 : 1);
    const int splits =
        b.tunable("attention_step", "kSplits", default_splits(b.arch, kv_heads * parts, 64));
    const int64_t rows = b.rows(y);
    const PlanArg shares =
        splits > 1 ? b.scratch(rows * heads * splits * (head_size + 2) * 4) : b.none();
    const PlanArg counters =
        splits > 1 ? b.counters("attention.counters", rows * kv_heads * parts * 4) : b.none();
    EmittedStep step{
        .label = b.name(y),
        .spec = {"attention_step",
                 {{"Kv", kv_functor(b.options.kv)},
                  {"kHeads", constant(heads)},
                  {"kKvHeads", constant(kv_heads)},
                  {"kHeadSize", constant(head_size)},
                  {"kScale", constant(op.scale)},
                  {"kNorm", constant(norm)},
                  {"kEps", constant(op.eps)},
                  {"kRotary", constant(op.rotary)},
                  {"kInterleaved", constant(op.interleaved)},
                  {"kMagnitude", constant(b.graph.rope_magnitude)},
                  {"kGated", constant(op.gated)},
                  {"kQuantisedOutput", constant(quantised)},
                  {"kParts", constant(parts)},
                  {"kSplits", constant(splits)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(y), b.pages(), q, k, v, norm ? b.raw(op.q_norm) : b.none(),
                 norm ? b.raw(op.k_norm) : b.none(), b.turns(),
                 b.kv(op.kv, "k", kv_heads, head_size), b.kv(op.kv, "v", kv_heads, head_size),
                 shares, counters, b.out(y, quantised ? Form::kQuantised : Form::kFloat)},
        .groups = {static_cast<uint32_t>(kv_heads * parts), static_cast<uint32_t>(splits),
                   static_cast<uint32_t>(rows)},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = rows > 1 ? 2 : -1};
    step.cost.activation_bytes =
        rows * ((heads + 2 * kv_heads) * head_size * 4 + form_bytes(quantised, heads * head_size));
    step.cost.kv_bytes_per_context = rows * 2 * kv_row_bytes(b.options.kv, kv_heads, head_size);
    step.cost.operations_per_context = rows * 4 * heads * head_size;
    b.emit(std::move(step));
}

}  // namespace

Lowerings<ops::LinearFan> lowerings(const ops::LinearFan&) {
    static const Lowering<ops::LinearFan> list[] = {{.variant = "gemv_fan", .emit = lower_fan}};
    return list;
}
Lowerings<ops::Swiglu> lowerings(const ops::Swiglu&) {
    static const Lowering<ops::Swiglu> list[] = {kSwigluByMatrix,
                                                 {.variant = "gemv_swiglu", .emit = lower_swiglu}};
    return list;
}
Lowerings<ops::LinearAdd> lowerings(const ops::LinearAdd&) {
    static const Lowering<ops::LinearAdd> list[] = {
        kLinearAddByMatrix, {.variant = "gemv_residual", .emit = lower_linear_add}};
    return list;
}
Lowerings<ops::LinearAddNorm> lowerings(const ops::LinearAddNorm&) {
    static const Lowering<ops::LinearAddNorm> list[] = {
        {.variant = "gemv_residual", .emit = lower_linear_add_norm}};
    return list;
}
Lowerings<ops::EmbedNorm> lowerings(const ops::EmbedNorm&) {
    static const Lowering<ops::EmbedNorm> list[] = {
        {.variant = "embed_norm", .emit = lower_embed_norm}};
    return list;
}
Lowerings<ops::AttentionStep> lowerings(const ops::AttentionStep&) {
    static const Lowering<ops::AttentionStep> list[] = {
        {.variant = "one launch", .emit = lower_attention_step}};
    return list;
}

}  // namespace hetune
