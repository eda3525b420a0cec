// Kernels of the fused ops (planner/fusion).
#include <algorithm>

#include "planner/lower/linear.h"
#include "planner/lower/normed.h"

namespace hetune {
namespace {

int tokens_of(const PlanBuilder& b, const char* kernel, ValueId x) {
    return std::min(b.rows(x), b.tunable(kernel, "kTokens", 8));
}

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

void lower_fan(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0];
    const size_t count = op.outputs.size();
    const int64_t cols = b.width(x);
    const bool bias = op.integer("bias") != 0;
    const FusedInput in = in_normed(b, x, op);
    int64_t tiles = 0;
    for (const ValueId y : op.outputs) tiles += ceil_div(b.width(y), 32);
    const int tokens = tokens_of(b, "gemv_fan", x);
    const int waves = waves_of(b, "gemv_fan", tiles, cols, op.weights[0]);
    EmittedStep step{.label = b.name(op.outputs[0]),
                     .spec = {"gemv_fan",
                              {{"kCols", constant(cols)},
                               {"kTokens", constant(tokens)},
                               {"kQuantisedInput", constant(in.quantised)},
                               {"kBias", constant(bias)},
                               {"kNormed", constant(in.due)},
                               {"kEps", constant(in.eps)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(x), in.value, in.squares}};
    for (size_t i = 0; i < 4; ++i) {
        const std::string& weight = op.weights[std::min(i, count - 1)];
        const std::string digit = std::to_string(i);
        step.spec.constants["Quant" + digit] = b.format(weight).name;
        step.spec.constants["kRows" + digit] =
            constant(i < count ? b.width(op.outputs[i]) : int64_t{0});
        step.args.push_back(i < count ? b.tiles(weight) : b.none());
        if (i >= count) continue;
        step.cost.weight_bytes += tiles_bytes(b.format(weight), b.width(op.outputs[i]), cols);
        step.cost.activation_bytes += b.rows(x) * b.width(op.outputs[i]) * 4;
        step.cost.operations += 2 * b.rows(x) * cols * b.width(op.outputs[i]);
    }
    for (size_t i = 0; i < 4; ++i)
        step.args.push_back(bias && i < count ? b.raw(op.weights[count + i]) : b.none());
    for (size_t i = 0; i < 4; ++i) step.args.push_back(i < count ? b.out(op.outputs[i]) : b.none());
    step.cost.activation_bytes += b.rows(x) * form_bytes(in.quantised, cols);
    set_grid(step, b, x, tiles, tokens, waves);
    b.emit(std::move(step));
}

void lower_swiglu(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], y = op.outputs[0];
    const int64_t cols = b.width(x), rows = b.width(y);
    const FusedInput in = in_normed(b, x, op);
    const bool quantised = output_quantised(b, y);
    const int tokens = tokens_of(b, "gemv_swiglu", x);
    const int waves = std::min(8, waves_of(b, "gemv_swiglu", rows / 32, cols, op.weights[0]));
    EmittedStep step{.label = b.name(y),
                     .spec = {"gemv_swiglu",
                              {{"Gate", b.format(op.weights[0]).name},
                               {"Up", b.format(op.weights[1]).name},
                               {"kRows", constant(rows)},
                               {"kCols", constant(cols)},
                               {"kTokens", constant(tokens)},
                               {"kQuantisedInput", constant(in.quantised)},
                               {"kQuantisedOutput", constant(quantised)},
                               {"kNormed", constant(in.due)},
                               {"kEps", constant(in.eps)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(x), b.tiles(op.weights[0]), b.tiles(op.weights[1]), in.value,
                              in.squares, b.out(y, quantised ? Form::kQuantised : Form::kFloat)}};
    for (const std::string& weight : op.weights)
        step.cost.weight_bytes += tiles_bytes(b.format(weight), rows, cols);
    step.cost.activation_bytes =
        b.rows(x) * (form_bytes(in.quantised, cols) + form_bytes(quantised, rows));
    step.cost.operations = 4 * b.rows(x) * cols * rows;
    set_grid(step, b, x, rows / 32, tokens, waves);
    b.emit(std::move(step));
}

void lower_linear_add(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], residual = op.inputs[1], h = op.outputs[0];
    const bool normed = op.outputs.size() > 1;
    const int64_t cols = b.width(x), rows = b.width(h);
    const LinearInput in = linear_input(b, x, std::span(op.weights).first(1));
    const PlanArg before = b.in(residual);
    const PlanArg after = b.out(h);
    const Normed next = normed ? out_normed(b, op.outputs[1]) : Normed{b.none(), b.none(), false};
    const int tokens = tokens_of(b, "gemv_residual", x);
    const int waves = waves_of(b, "gemv_residual", rows / 32, cols, op.weights[0]);
    EmittedStep step{
        .label = b.name(h),
        .spec = {"gemv_residual",
                 {{"Quant", b.format(op.weights[0]).name},
                  {"kRows", constant(rows)},
                  {"kCols", constant(cols)},
                  {"kTokens", constant(tokens)},
                  {"kQuantisedInput", constant(in.quantised)},
                  {"kNormed", constant(normed)},
                  {"kQuantisedOutput", constant(next.quantised)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(x), b.tiles(op.weights[0]), in.arg, before,
                 normed ? b.raw(op.weights[1]) : b.none(), after, next.value, next.squares}};
    step.cost.weight_bytes =
        tiles_bytes(b.format(op.weights[0]), rows, cols) + (normed ? rows * 4 : 0);
    step.cost.activation_bytes = b.rows(x) * (form_bytes(in.quantised, cols) + rows * 8 +
                                              (normed ? form_bytes(next.quantised, rows) : 0));
    step.cost.operations = 2 * b.rows(x) * cols * rows;
    set_grid(step, b, x, rows / 32, tokens, waves);
    b.emit(std::move(step));
}

void lower_embed_norm(PlanBuilder& b, const Op& op) {
    const ValueId h = op.outputs[0];
    const QuantFormat& format = b.format(op.weights[0]);
    const int waves = b.waves("embed_norm", 4);
    const PlanArg to = b.out(h);
    const Normed next = out_normed(b, op.outputs[1]);
    EmittedStep step{.label = b.name(h),
                     .spec = {"embed_norm",
                              {{"Quant", format.name},
                               {"kRows", constant(b.tensor_rows(op.weights[0]))},
                               {"kCols", constant(b.width(h))},
                               {"kQuantisedOutput", constant(next.quantised)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(h), b.tiles(op.weights[0]), b.tokens(), b.raw(op.weights[1]),
                              to, next.value, next.squares},
                     .groups = {static_cast<uint32_t>(b.rows(h)), 1, 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = 0};
    step.cost.weight_bytes = b.rows(h) * b.width(h) / format.block_elems * format.block_bytes;
    step.cost.activation_bytes =
        b.rows(h) * (b.width(h) * 4 + form_bytes(next.quantised, b.width(h)));
    b.emit(std::move(step));
}

void lower_attention_step(PlanBuilder& b, const Op& op) {
    const ValueId y = op.outputs[0];
    const int64_t heads = op.integer("heads"), kv_heads = op.integer("kv_heads");
    const int64_t head_size = op.integer("head_size");
    const int layer = static_cast<int>(op.integer("kv"));
    const bool norm = !op.weights.empty();
    const bool quantised = output_quantised(b, y) && head_size % 32 == 0;
    const PlanArg q = b.in(op.inputs[0]), k = b.in(op.inputs[1]), v = b.in(op.inputs[2]);
    const int waves = b.waves("attention_step", b.arch.attention_waves);
    const int64_t group = heads / kv_heads;
    const int parts = b.tunable("attention_step", "kParts",
                                group % 2 == 0 && group > b.arch.attention_heads_of_lane ? 2 : 1);
    const int splits =
        b.tunable("attention_step", "kSplits", default_splits(b.arch, kv_heads * parts, 64));
    const PlanArg shares = splits > 1 ? b.scratch(heads * splits * (head_size + 2) * 4) : b.none();
    const PlanArg counters =
        splits > 1 ? b.counters("attention.counters", kv_heads * parts * 4) : b.none();
    EmittedStep step{
        .label = b.name(y),
        .spec = {"attention_step",
                 {{"Kv", kv_functor(b.options.kv)},
                  {"kHeads", constant(heads)},
                  {"kKvHeads", constant(kv_heads)},
                  {"kHeadSize", constant(head_size)},
                  {"kScale", constant(op.attribute("scale"))},
                  {"kNorm", constant(norm)},
                  {"kEps", constant(norm ? op.attribute("eps") : 0.0)},
                  {"kRotary", constant(op.integer("rotary"))},
                  {"kInterleaved", constant(op.integer("interleaved") != 0)},
                  {"kMagnitude", constant(b.graph.rope_magnitude)},
                  {"kGated", constant(op.attributes.contains("gated"))},
                  {"kQuantisedOutput", constant(quantised)},
                  {"kParts", constant(parts)},
                  {"kSplits", constant(splits)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(y), q, k, v, norm ? b.raw(op.weights[0]) : b.none(),
                 norm ? b.raw(op.weights[1]) : b.none(), b.turns(),
                 b.kv(layer, "k", kv_heads, head_size), b.kv(layer, "v", kv_heads, head_size),
                 shares, counters, b.out(y, quantised ? Form::kQuantised : Form::kFloat)},
        .groups = {static_cast<uint32_t>(kv_heads * parts), static_cast<uint32_t>(splits), 1},
        .threads = static_cast<uint32_t>(32 * waves)};
    step.cost.activation_bytes =
        (heads + 2 * kv_heads) * head_size * 4 + form_bytes(quantised, heads * head_size);
    step.cost.kv_bytes_per_context = 2 * kv_row_bytes(b.options.kv, kv_heads, head_size);
    step.cost.operations_per_context = 4 * heads * head_size;
    b.emit(std::move(step));
}

const RegisterLowering kFusedLowerings[] = {
    RegisterLowering{{.layer = "linear_fan", .variant = "gemv_fan", .emit = lower_fan}},
    RegisterLowering{{.layer = "swiglu", .variant = "gemv_swiglu", .emit = lower_swiglu}},
    RegisterLowering{{.layer = "linear_add", .variant = "gemv_residual", .emit = lower_linear_add}},
    RegisterLowering{
        {.layer = "linear_add_norm", .variant = "gemv_residual", .emit = lower_linear_add}},
    RegisterLowering{{.layer = "embed_norm", .variant = "embed_norm", .emit = lower_embed_norm}},
    RegisterLowering{
        {.layer = "attention_step", .variant = "one launch", .emit = lower_attention_step}},
};

}  // namespace
}  // namespace hetune
