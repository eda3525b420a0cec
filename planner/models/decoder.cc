#include "planner/models/decoder.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <numbers>

namespace hetune {
namespace {

std::string block(int layer, std::string_view name) {
    return fmt::format("blk.{}.{}", layer, name);
}

// YaRN: dimension whose wavelength makes `rotations` turns over the original context.
double yarn_dimension(double rotations, double context, double base, int64_t rotary) {
    return static_cast<double>(rotary) * std::log(context / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(base));
}

}  // namespace

DecoderBuilder::DecoderBuilder(const ModelFile& model)
    : file(model), arch(model.get_string("general.architecture")) {
    graph.layers = static_cast<int>(size("block_count", 1, 10000));
    const auto predicting = static_cast<int>(size("nextn_predict_layers", 0, graph.layers - 1, 0));
    if (predicting > 0) {
        graph.layers -= predicting;
        graph.notes.push_back(
            fmt::format("multi-token prediction (block {} on) is left out", graph.layers));
    }
    graph.hidden = size("embedding_length", 32, 1 << 20);
    graph.trained_context = size("context_length", 1, int64_t{1} << 30, 4096);
    eps = file.get_float(arch + ".attention.layer_norm_rms_epsilon", 1e-6);
    const Tensor& embedding = file.tensor("token_embd.weight");
    graph.vocabulary = embedding.rows();
}

int64_t DecoderBuilder::size(const std::string& key, int64_t low, int64_t high) const {
    const int64_t value = file.get_int(arch + "." + key);
    if (value < low || value > high)
        throw ModelError(fmt::format("{}: {}.{} is {}, outside {} to {}", file.path().string(),
                                     arch, key, value, low, high));
    return value;
}

int64_t DecoderBuilder::size(const std::string& key, int64_t low, int64_t high,
                             int64_t fallback) const {
    return file.metadata().contains(arch + "." + key) ? size(key, low, high) : fallback;
}

std::string DecoderBuilder::weight(const std::string& name, int64_t rows, int64_t cols) const {
    const Tensor& tensor = file.tensor(name);
    if (tensor.cols() != cols || tensor.rows() != rows)
        throw ModelError(
            fmt::format("{}: tensor '{}' is [{} x {}], but the hyper-parameters ask "
                        "for [{} x {}]",
                        file.path().string(), name, tensor.rows(), tensor.cols(), rows, cols));
    return name;
}

std::string DecoderBuilder::floats(const std::string& name, int64_t rows, int64_t cols) const {
    weight(name, rows, cols);
    if (file.tensor(name).ggml_type != 0)
        throw ModelError(fmt::format("{}: tensor '{}' must be F32", file.path().string(), name));
    return name;
}

ValueId DecoderBuilder::embed() {
    const std::string name = weight("token_embd.weight", graph.vocabulary, graph.hidden);
    return graph.add_op({.kind = "embed", .weights = {name}}, "embed", graph.hidden);
}

ValueId DecoderBuilder::rmsnorm(ValueId x, const std::string& tensor, int layer) {
    return graph.add_op({.kind = "rmsnorm",
                         .inputs = {x},
                         .weights = {vector(tensor + ".weight", width(x))},
                         .attributes = {{"eps", eps}},
                         .layer = layer},
                        tensor, width(x));
}

ValueId DecoderBuilder::linear(ValueId x, const std::string& tensor, int64_t rows, int layer) {
    Op op{.kind = "linear", .inputs = {x}, .layer = layer};
    op.weights.push_back(weight(tensor + ".weight", rows, width(x)));
    if (has(tensor + ".bias")) op.weights.push_back(vector(tensor + ".bias", rows));
    return graph.add_op(std::move(op), tensor, rows);
}

ValueId DecoderBuilder::add(ValueId a, ValueId b, const std::string& name, int layer) {
    return graph.add_op({.kind = "add", .inputs = {a, b}, .layer = layer}, name, width(a));
}

ValueId DecoderBuilder::swiglu(ValueId x, int64_t inner, int layer, const std::string& suffix) {
    const ValueId gate = linear(x, block(layer, "ffn_gate" + suffix), inner, layer);
    const ValueId up = linear(x, block(layer, "ffn_up" + suffix), inner, layer);
    const ValueId act = graph.add_op({.kind = "silu_mul", .inputs = {gate, up}, .layer = layer},
                                     block(layer, "ffn_act" + suffix), inner);
    return linear(act, block(layer, "ffn_down" + suffix), graph.hidden, layer);
}

ValueId DecoderBuilder::feed_forward(ValueId x, int layer) {
    const int64_t count = size("expert_count", 0, 4096, 0);
    if (count == 0) return swiglu(x, size("feed_forward_length", 32, 1 << 20), layer);
    const ValueId routed = experts(x, count, layer);
    if (!has(block(layer, "ffn_gate_shexp.weight"))) return routed;
    return add(routed, shared_expert(x, layer), block(layer, "ffn_moe"), layer);
}

ValueId DecoderBuilder::experts(ValueId x, int64_t count, int layer) {
    const int64_t used = size("expert_used_count", 1, count);
    const int64_t inner = file.metadata().contains(arch + ".expert_feed_forward_length")
                              ? size("expert_feed_forward_length", 32, 1 << 20)
                              : file.tensor(block(layer, "ffn_up_exps.weight")).rows() / count;
    const ValueId ids = graph.add_value(block(layer, "ffn_expert_ids"), used);
    const ValueId shares = graph.add_value(block(layer, "ffn_expert_shares"), used);
    graph.ops.push_back(
        {.kind = "router",
         .inputs = {x},
         .outputs = {ids, shares},
         .weights = {weight(block(layer, "ffn_gate_inp.weight"), count, graph.hidden)},
         .attributes = {{"experts", static_cast<double>(count)},
                        {"used", static_cast<double>(used)},
                        {"renormalise", 1}},
         .layer = layer});
    return graph.add_op(
        {.kind = "experts",
         .inputs = {x, ids, shares},
         .weights = {weight(block(layer, "ffn_gate_exps.weight"), count * inner, graph.hidden),
                     weight(block(layer, "ffn_up_exps.weight"), count * inner, graph.hidden),
                     weight(block(layer, "ffn_down_exps.weight"), count * graph.hidden, inner)},
         .attributes = {{"experts", static_cast<double>(count)},
                        {"used", static_cast<double>(used)}},
         .layer = layer},
        block(layer, "ffn_experts"), graph.hidden);
}

ValueId DecoderBuilder::shared_expert(ValueId x, int layer) {
    const int64_t inner = file.tensor(block(layer, "ffn_gate_shexp.weight")).rows();
    const ValueId y = swiglu(x, inner, layer, "_shexp");
    if (!has(block(layer, "ffn_gate_inp_shexp.weight"))) return y;
    const ValueId gate = linear(x, block(layer, "ffn_gate_inp_shexp"), 1, layer);
    return graph.add_op({.kind = "scale_by_sigmoid", .inputs = {y, gate}, .layer = layer},
                        block(layer, "ffn_shexp_gated"), graph.hidden);
}

AttentionShape DecoderBuilder::attention_shape(bool interleaved) {
    AttentionShape shape{.interleaved = interleaved};
    shape.heads = size("attention.head_count", 1, 4096);
    shape.kv_heads = size("attention.head_count_kv", 1, shape.heads, shape.heads);
    shape.head_size = size("attention.key_length", 16, 512, graph.hidden / shape.heads);
    shape.rotary = size("rope.dimension_count", 2, shape.head_size, shape.head_size);
    size("attention.value_length", shape.head_size, shape.head_size, shape.head_size);
    if (shape.rotary % 2 != 0)
        throw ModelError(fmt::format("{}: {}.rope.dimension_count is {}, which is not even",
                                     file.path().string(), arch, shape.rotary));
    if (shape.heads % shape.kv_heads != 0)
        throw ModelError(fmt::format("{}: {} query heads are no multiple of {} KV heads",
                                     file.path().string(), shape.heads, shape.kv_heads));
    set_rope(shape.rotary);
    return shape;
}

ValueId DecoderBuilder::head_rmsnorm(ValueId x, const std::string& tensor, int64_t head_size,
                                     int layer) {
    return graph.add_op({.kind = "head_rmsnorm",
                         .inputs = {x},
                         .weights = {vector(tensor + ".weight", head_size)},
                         .attributes = {{"heads", static_cast<double>(width(x) / head_size)},
                                        {"head_size", static_cast<double>(head_size)},
                                        {"eps", eps}},
                         .layer = layer},
                        tensor, width(x));
}

ValueId DecoderBuilder::rope(ValueId x, const std::string& name, const AttentionShape& shape,
                             int layer) {
    return graph.add_op({.kind = "rope",
                         .inputs = {x},
                         .attributes = {{"heads", static_cast<double>(width(x) / shape.head_size)},
                                        {"head_size", static_cast<double>(shape.head_size)},
                                        {"rotary", static_cast<double>(shape.rotary)},
                                        {"interleaved", shape.interleaved ? 1.0 : 0.0}},
                         .layer = layer},
                        name, width(x));
}

ValueId DecoderBuilder::attention(ValueId q, ValueId k, ValueId v, const AttentionShape& shape,
                                  int layer) {
    return graph.add_op(
        {.kind = "attention",
         .inputs = {q, k, v},
         .attributes = {{"heads", static_cast<double>(shape.heads)},
                        {"kv_heads", static_cast<double>(shape.kv_heads)},
                        {"head_size", static_cast<double>(shape.head_size)},
                        {"scale", 1.0 / std::sqrt(static_cast<double>(shape.head_size))},
                        {"kv", static_cast<double>(attention_layers_++)}},
         .layer = layer},
        block(layer, "attn"), shape.heads * shape.head_size);
}

void DecoderBuilder::finish(ValueId x) {
    x = graph.add_op({.kind = "last_row", .inputs = {x}}, "last_row", graph.hidden);
    x = rmsnorm(x, "output_norm", -1);
    const std::string output = has("output.weight") ? "output.weight" : "token_embd.weight";
    graph.logits = graph.add_op({.kind = "linear",
                                 .inputs = {x},
                                 .weights = {weight(output, graph.vocabulary, graph.hidden)}},
                                "logits", graph.vocabulary);
}

void DecoderBuilder::set_rope(int64_t rotary) {
    const auto positive = [&](const char* key, double fallback) {
        const double value = file.get_float(arch + key, fallback);
        if (!(value > 0) || !std::isfinite(value))
            throw ModelError(fmt::format("{}: {}{} is {}, which is no positive number",
                                         file.path().string(), arch, key, value));
        return value;
    };
    const double base = positive(".rope.freq_base", 10000.0);
    // A factor without a type, or under its old name, is linear.
    const std::string type = file.get_string(arch + ".rope.scaling.type", "linear");
    const double factor =
        type == "none" ? 1.0
                       : positive(".rope.scaling.factor", positive(".rope.scale_linear", 1.0));
    if (type != "none" && type != "linear" && type != "yarn")
        throw ModelError(fmt::format("{}: {}.rope.scaling.type is '{}'; known: none, linear, yarn",
                                     file.path().string(), arch, type));
    const Tensor* divisors = file.find_tensor("rope_freqs.weight");
    if (divisors != nullptr) vector("rope_freqs.weight", rotary / 2);

    double low = 0, high = 0;
    if (type == "yarn") {
        const double original = positive(".rope.scaling.original_context_length",
                                         static_cast<double>(graph.trained_context));
        low = std::max(0.0, std::floor(yarn_dimension(positive(".rope.scaling.yarn_beta_fast", 32),
                                                      original, base, rotary)));
        high = std::min(static_cast<double>(rotary) - 1,
                        std::ceil(yarn_dimension(positive(".rope.scaling.yarn_beta_slow", 1),
                                                 original, base, rotary)));
        graph.rope_magnitude = file.get_float(arch + ".rope.scaling.attn_factor", 1.0) *
                               (1.0 + 0.1 * std::log(factor));
    }
    for (int64_t i = 0; i < rotary / 2; ++i) {
        double frequency =
            std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
        if (divisors != nullptr && !divisors->data.empty()) {
            float divisor;
            std::memcpy(&divisor, divisors->data.data() + i * 4, 4);
            frequency /= divisor;
        }
        if (type == "linear") frequency /= factor;
        if (type == "yarn") {
            const double ramp =
                std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
            frequency = frequency * (1 - ramp) + frequency / factor * ramp;
        }
        graph.rope_turns.push_back(frequency / (2 * std::numbers::pi));
    }
}

}  // namespace hetune
