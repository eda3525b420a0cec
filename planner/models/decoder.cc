#include "planner/models/decoder.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <numbers>

namespace hetune {
namespace {

std::string block(int layer, const char* name) { return fmt::format("blk.{}.{}", layer, name); }

// YaRN: dimension whose wavelength makes `rotations` turns over the original context.
double yarn_dimension(double rotations, double context, double base, int64_t rotary) {
    return static_cast<double>(rotary) *
           std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
}

}  // namespace

DecoderBuilder::DecoderBuilder(const ModelFile& model)
    : file(model), arch(model.get_string("general.architecture")) {
    graph.layers = static_cast<int>(size("block_count", 1, 10000));
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
        throw ModelError(fmt::format("{}: tensor '{}' is [{} x {}], but the hyper-parameters ask "
                                     "for [{} x {}]",
                                     file.path().string(), name, tensor.rows(), tensor.cols(), rows,
                                     cols));
    return name;
}

std::string DecoderBuilder::vector(const std::string& name, int64_t count) const {
    weight(name, 1, count);
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

ValueId DecoderBuilder::swiglu(ValueId x, int64_t inner, int layer) {
    const ValueId gate = linear(x, block(layer, "ffn_gate"), inner, layer);
    const ValueId up = linear(x, block(layer, "ffn_up"), inner, layer);
    const ValueId act = graph.add_op({.kind = "silu_mul", .inputs = {gate, up}, .layer = layer},
                                     block(layer, "ffn_act"), inner);
    return linear(act, block(layer, "ffn_down"), graph.hidden, layer);
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

void DecoderBuilder::set_rope(int64_t rotary, double default_base) {
    const double base = file.get_float(arch + ".rope.freq_base", default_base);
    const std::string type = file.get_string(arch + ".rope.scaling.type", "none");
    const double factor = file.get_float(arch + ".rope.scaling.factor", 1.0);
    if (type != "none" && type != "linear" && type != "yarn")
        throw ModelError(fmt::format("{}: {}.rope.scaling.type is '{}'; known: none, linear, yarn",
                                     file.path().string(), arch, type));
    const Tensor* divisors = file.find_tensor("rope_freqs.weight");
    if (divisors != nullptr) vector("rope_freqs.weight", rotary / 2);

    const double original = file.get_float(arch + ".rope.scaling.original_context_length",
                                           static_cast<double>(graph.trained_context));
    double low = 0, high = 0;
    if (type == "yarn") {
        low = std::max(0.0, std::floor(yarn_dimension(32, original, base, rotary)));
        high = std::min(static_cast<double>(rotary) - 1,
                        std::ceil(yarn_dimension(1, original, base, rotary)));
        graph.rope_magnitude = file.get_float(arch + ".rope.scaling.attn_factor", 1.0) *
                               (1.0 + 0.1 * std::log(factor));
    }
    for (int64_t i = 0; i < rotary / 2; ++i) {
        double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
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
