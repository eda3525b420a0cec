#include "planner/graph/models/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "kernel_templates/quant/registry.h"
#include "planner/graph/models/unused.h"

namespace hetune {
namespace {

std::string block(int layer, std::string_view name) {
    return fmt::format("blk.{}.{}", layer, name);
}

// Wavelengths between so many turns over the original context are interpolated in part. YaRN's own
// numbers; llama.cpp 0.7.0 reads no others from the files of these families.
constexpr double kYarnFast = 32, kYarnSlow = 1;

// YaRN: dimension whose wavelength makes `rotations` turns over the original context.
double yarn_dimension(double rotations, double context, double base, int64_t rotary) {
    return static_cast<double>(rotary) * std::log(context / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(base));
}

}  // namespace

void DecoderBuilder::fail(const std::string& what) const {
    throw ModelError(fmt::format("{}: {}", file.path().string(), what));
}

DecoderBuilder::DecoderBuilder(const ModelFile& model, const FileTraits& traits)
    : file(model), arch(model.get_string("general.architecture")), traits_(traits) {
    blocks_ = static_cast<int>(size("block_count", 1, 10000));
    graph.layers = blocks_;
    const auto predicting = static_cast<int>(size("nextn_predict_layers", 0, graph.layers - 1, 0));
    if (predicting > 0) {
        graph.layers -= predicting;
        graph.notes.push_back(
            fmt::format("multi-token prediction (block {} on) is left out", graph.layers));
    }
    graph.hidden = size("embedding_length", 32, 1 << 20);
    graph.trained_context = size("context_length", 1, int64_t{1} << 30, 4096);
    const MetaValue* epsilon = find("attention.layer_norm_rms_epsilon");
    if (epsilon == nullptr)
        fail(fmt::format("lacks the metadata key '{}.attention.layer_norm_rms_epsilon'", arch));
    eps = positive("attention.layer_norm_rms_epsilon", 0);
    const Tensor& embedding = file.tensor("token_embd.weight");
    graph.vocabulary = embedding.rows();
}

const MetaValue* DecoderBuilder::find(const std::string& key) const {
    keys_.insert(arch + "." + key);
    return file.find(arch + "." + key);
}

const MetaValue& DecoderBuilder::of_layer(const std::string& key, const MetaValue& value,
                                          int layer) const {
    const auto* list = std::get_if<MetaArray>(&value.value);
    if (list == nullptr) return value;
    if (layer == kNoLayer)
        fail(fmt::format("{}.{} is a list, but one number counts for all layers", arch, key));
    if (list->size() != static_cast<size_t>(blocks_))
        fail(fmt::format("{}.{} has {} values for {} blocks", arch, key, list->size(), blocks_));
    return (*list)[static_cast<size_t>(layer)];
}

int64_t DecoderBuilder::size(const std::string& key, int64_t low, int64_t high,
                             std::optional<int64_t> fallback, int layer) const {
    const MetaValue* value = find(key);
    if (value == nullptr) {
        if (!fallback) fail(fmt::format("lacks the metadata key '{}.{}'", arch, key));
        return *fallback;
    }
    const auto number = of_layer(key, *value, layer).integer();
    if (!number) fail(fmt::format("metadata key '{}.{}' is no integer", arch, key));
    if (*number < low || *number > high)
        fail(fmt::format("{}.{} is {}, outside {} to {}", arch, key, *number, low, high));
    return *number;
}

double DecoderBuilder::positive(const std::string& key, double fallback) const {
    const MetaValue* value = find(key);
    if (value == nullptr) return fallback;
    const auto number = value->number();
    if (!number) fail(fmt::format("metadata key '{}.{}' is no number", arch, key));
    if (!(*number > 0) || !std::isfinite(*number))
        fail(
            fmt::format("{}.{} is {}, which is no positive number; the file is damaged or its "
                        "converter failed",
                        arch, key, *number));
    return *number;
}

std::string DecoderBuilder::weight(const std::string& name, int64_t rows, int64_t cols) const {
    const Tensor& tensor = file.tensor(name);
    if (tensor.cols() != cols || tensor.rows() != rows)
        fail(fmt::format("tensor '{}' is [{} x {}], but the hyper-parameters ask for [{} x {}]",
                         name, tensor.rows(), tensor.cols(), rows, cols));
    const QuantFormat* format = find_quant(tensor.ggml_type);
    if (format == nullptr)
        fail(
            fmt::format("tensor '{}' is {}, for which hetune has no kernels; quantise the model "
                        "to another type",
                        name, tensor.type_name()));
    return name;
}

std::string DecoderBuilder::floats(const std::string& name, int64_t rows, int64_t cols) const {
    if (file.tensor(name).ggml_type != 0) fail(fmt::format("tensor '{}' must be F32", name));
    return weight(name, rows, cols);
}

ValueId DecoderBuilder::embed() {
    const std::string name = weight("token_embd.weight", graph.vocabulary, graph.hidden);
    return graph.add(ops::Embed{.table = name}, {"embed", graph.hidden});
}

ValueId DecoderBuilder::rmsnorm(ValueId x, const std::string& tensor, int layer) {
    return graph.add(
        ops::RmsNorm{.x = x, .weight = vector(tensor + ".weight", width(x)), .eps = eps},
        {tensor, width(x), layer});
}

ValueId DecoderBuilder::linear(ValueId x, const Matrix& matrix, int layer) {
    const std::string tensor = matrix.tensor.empty() ? matrix.name : matrix.tensor;
    const int64_t all = matrix.all > 0 ? matrix.all : matrix.rows;
    const auto part = [&](const std::string& name) {
        return all == matrix.rows
                   ? name
                   : TensorSlice{.tensor = name, .first = matrix.first, .count = matrix.rows}
                         .name();
    };
    const std::string weights = tensor + ".weight", bias = tensor + ".bias";
    weight(weights, all, width(x));
    const bool with_bias = matrix.bias && has(bias),
               with_scale = matrix.scale && has(tensor + ".scale");
    if (with_bias) vector(bias, all);
    ops::Linear product{.x = x, .weight = part(weights)};
    if (with_bias && (!with_scale || matrix.bias_first)) product.bias = part(bias);
    if (!with_scale) return graph.add(std::move(product), {matrix.name, matrix.rows, layer});

    const ValueId y = graph.add(std::move(product), {matrix.name + ".product", matrix.rows, layer});
    ops::Scale scale{.x = y, .factor = vector(tensor + ".scale", 1)};
    if (with_bias && !matrix.bias_first) scale.bias = part(bias);
    return graph.add(std::move(scale), {matrix.name, matrix.rows, layer});
}

DecoderBuilder::Projections DecoderBuilder::project(ValueId x, const AttentionShape& shape,
                                                    int64_t q_rows, int layer) {
    const int64_t kv_rows = shape.kv_heads * shape.head_size, all = q_rows + 2 * kv_rows;
    const std::string fused = block(layer, "attn_qkv");
    const auto one = [&](std::string_view name, int64_t rows, int64_t first) {
        Matrix matrix{.name = block(layer, name), .rows = rows, .bias = true};
        if (has(fused + ".weight")) {
            matrix.tensor = fused;
            matrix.first = first;
            matrix.all = all;
        }
        return linear(x, matrix, layer);
    };
    const ValueId q = one("attn_q", q_rows, 0), k = one("attn_k", kv_rows, q_rows);
    return {q, k, one("attn_v", kv_rows, q_rows + kv_rows)};
}

ValueId DecoderBuilder::attention_output(ValueId x, int layer) {
    return linear(
        x, {.name = block(layer, "attn_output"), .rows = graph.hidden, .bias = traits_.layer_bias},
        layer);
}

ValueId DecoderBuilder::add(ValueId a, ValueId b, const std::string& name, int layer) {
    return graph.add(ops::Add{.a = a, .b = b}, {name, width(a), layer});
}

ValueId DecoderBuilder::swiglu(ValueId x, int64_t inner, int layer, const std::string& suffix) {
    const auto matrix = [&](std::string_view name, int64_t rows) {
        return Matrix{.name = block(layer, name) + suffix,
                      .rows = rows,
                      .bias = traits_.layer_bias,
                      .scale = traits_.inner_scale,
                      .bias_first = true};
    };
    Matrix gate = matrix("ffn_gate", inner), up = matrix("ffn_up", inner);
    // One tensor with the rows of both, gate first.
    if (!has(gate.name + ".weight") && has(up.name + ".weight") &&
        file.tensor(up.name + ".weight").rows() == 2 * inner) {
        gate.tensor = up.name;
        gate.all = up.all = 2 * inner;
        up.first = inner;
    }
    const ValueId g = linear(x, gate, layer), u = linear(x, up, layer);
    const ValueId act = graph.add(ops::SiluMul{.gate = g, .up = u},
                                  {block(layer, "ffn_act") + suffix, inner, layer});
    return linear(act, matrix("ffn_down", graph.hidden), layer);
}

ValueId DecoderBuilder::feed_forward(ValueId x, int layer) {
    const int64_t count = traits_.experts ? size("expert_count", 0, 4096, 0) : 0;
    if (count == 0 && !traits_.dense)
        fail(fmt::format("{}.expert_count is missing or 0, but {} has experts", arch, arch));
    if (count == 0) return swiglu(x, size("feed_forward_length", 32, 1 << 20, {}, layer), layer);
    const ValueId routed = experts(x, count, layer);
    if (!traits_.shared_expert || !has(block(layer, "ffn_gate_shexp.weight"))) return routed;
    return add(routed, shared_expert(x, layer), block(layer, "ffn_moe"), layer);
}

ValueId DecoderBuilder::experts(ValueId x, int64_t count, int layer) {
    const int64_t used = size("expert_used_count", 1, count, {}, layer);
    const int64_t groups = std::max<int64_t>(size("expert_group_count", 0, count, 0), 1);
    const int64_t groups_used = groups == 1 ? 1 : size("expert_group_used_count", 1, groups);
    if (count % groups != 0 || (groups > 1 && count / groups < 2))
        fail(
            fmt::format("{}.expert_group_count is {}, but {} experts do not make groups of two or "
                        "more",
                        arch, groups, count));
    if (used > count / groups * groups_used)
        fail(fmt::format("{}.expert_used_count is {}, but {} groups of {} experts are used", arch,
                         used, groups_used, count / groups));

    const auto tensor = [&](std::string_view name) { return block(layer, name) + ".weight"; };
    std::string gate = tensor("ffn_gate_exps"), up = tensor("ffn_up_exps");
    const std::string both = tensor("ffn_gate_up_exps"), down = tensor("ffn_down_exps");
    const bool fused = has(both);
    // Without the key, the width follows from the tensors.
    const MetaValue* told = find("expert_feed_forward_length");
    const int64_t inner = told != nullptr && told->integer() != 0
                              ? size("expert_feed_forward_length", 32, 1 << 20, {}, layer)
                          : fused ? file.tensor(both).rows() / count / 2
                                  : file.tensor(up).rows() / count;
    if (fused) {
        weight(both, count * 2 * inner, graph.hidden);
        gate = TensorSlice{.tensor = both, .pieces = count, .first = 0, .count = inner}.name();
        up = TensorSlice{.tensor = both, .pieces = count, .first = inner, .count = inner}.name();
    }
    const ValueId ids = graph.add_value({block(layer, "ffn_expert_ids"), used, layer});
    const ValueId shares = graph.add_value({block(layer, "ffn_expert_shares"), used, layer});
    graph.ops.push_back(ops::Router{.x = x,
                                    .ids = ids,
                                    .shares = shares,
                                    .weight = weight(tensor("ffn_gate_inp"), count, graph.hidden),
                                    .experts = count,
                                    .used = used,
                                    .groups = groups,
                                    .groups_used = groups_used,
                                    .renormalise = true});
    ops::Experts op{.x = x,
                    .ids = ids,
                    .shares = shares,
                    .gate = weight(gate, count * inner, graph.hidden),
                    .up = weight(up, count * inner, graph.hidden),
                    .down = weight(down, count * graph.hidden, inner),
                    .experts = count,
                    .used = used};
    const std::string gate_scale = block(layer, "ffn_gate_exps.scale");
    if (has(gate_scale)) op.gate_scale = vector(gate_scale, count);
    // Factors of up and down leave the sum of products linear: the shares take them.
    for (const std::string_view name : {"ffn_up_exps", "ffn_down_exps"}) {
        const std::string scale = block(layer, name) + ".scale";
        if (!has(scale)) continue;
        op.shares = graph.add(
            ops::ScaleShares{
                .ids = ids, .shares = op.shares, .factors = vector(scale, count), .used = used},
            {block(layer, name) + ".shares", used, layer});
    }
    return graph.add(std::move(op), {block(layer, "ffn_experts"), graph.hidden, layer});
}

ValueId DecoderBuilder::shared_expert(ValueId x, int layer) {
    const int64_t inner = file.tensor(block(layer, "ffn_gate_shexp.weight")).rows();
    if (const int64_t told = size("expert_shared_feed_forward_length", 0, 1 << 20, inner);
        told != inner && told != 0)
        fail(
            fmt::format("{}.expert_shared_feed_forward_length is {}, but the shared expert of "
                        "block {} has {} rows",
                        arch, told, layer, inner));
    const ValueId y = swiglu(x, inner, layer, "_shexp");
    const std::string gate = block(layer, "ffn_gate_inp_shexp");
    if (!has(gate + ".weight")) return y;
    const ValueId share = linear(x, {.name = gate, .rows = 1, .scale = false}, layer);
    return graph.add(ops::ScaleBySigmoid{.x = y, .gate = share},
                     {block(layer, "ffn_shexp_gated"), graph.hidden, layer});
}

AttentionShape DecoderBuilder::attention_shape(const AttentionShape& first, int layer) const {
    AttentionShape shape = first;
    shape.heads = size("attention.head_count", 1, 4096, {}, layer);
    shape.kv_heads = size("attention.head_count_kv", 1, shape.heads, shape.heads, layer);
    if (shape.heads % shape.kv_heads != 0)
        fail(fmt::format("{} query heads are no multiple of {} KV heads (block {})", shape.heads,
                         shape.kv_heads, layer));
    return shape;
}

AttentionShape DecoderBuilder::attention_shape(bool interleaved, int layer) {
    AttentionShape shape = attention_shape({.interleaved = interleaved}, layer);
    const MetaValue* told = find("attention.key_length");
    if (told == nullptr && graph.hidden % shape.heads != 0)
        fail(
            fmt::format("{}.embedding_length {} is no multiple of {} heads, and there is no "
                        "{}.attention.key_length",
                        arch, graph.hidden, shape.heads, arch));
    shape.head_size = size("attention.key_length", 16, 512, graph.hidden / shape.heads);
    if (shape.head_size < 16 || shape.head_size > 512)
        fail(
            fmt::format("heads of {} values ({}.embedding_length {} / {} heads), outside 16 to 512",
                        shape.head_size, arch, graph.hidden, shape.heads));
    if (shape.head_size % 8 != 0)  // attention reads eight values of a head at once
        fail(fmt::format("heads of {} values; hetune needs a multiple of 8, 16 to 512",
                         shape.head_size));
    const int64_t values = size("attention.value_length", 1, 1 << 20, shape.head_size);
    if (values != shape.head_size)
        fail(
            fmt::format("{}.attention.value_length is {} and the keys have {}; hetune needs heads "
                        "whose keys and values have one length",
                        arch, values, shape.head_size));
    shape.rotary = size("rope.dimension_count", 2, shape.head_size, shape.head_size);
    if (shape.rotary % 2 != 0)
        fail(fmt::format("{}.rope.dimension_count is {}, which is not even", arch, shape.rotary));
    set_rope(shape.rotary);
    return shape;
}

ValueId DecoderBuilder::head_rmsnorm(ValueId x, const std::string& tensor, int64_t head_size,
                                     int layer) {
    return graph.add(ops::HeadRmsNorm{.x = x,
                                      .weight = vector(tensor + ".weight", head_size),
                                      .heads = width(x) / head_size,
                                      .head_size = head_size,
                                      .eps = eps},
                     {tensor, width(x), layer});
}

ValueId DecoderBuilder::rope(ValueId x, const std::string& name, const AttentionShape& shape,
                             int layer) {
    return graph.add(ops::Rope{.x = x,
                               .heads = width(x) / shape.head_size,
                               .head_size = shape.head_size,
                               .rotary = shape.rotary,
                               .interleaved = shape.interleaved},
                     {name, width(x), layer});
}

ValueId DecoderBuilder::attention(ValueId q, ValueId k, ValueId v, const AttentionShape& shape,
                                  int layer) {
    return graph.add(ops::Attention{.q = q,
                                    .k = k,
                                    .v = v,
                                    .heads = shape.heads,
                                    .kv_heads = shape.kv_heads,
                                    .head_size = shape.head_size,
                                    .scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size)),
                                    .kv = attention_layers_++},
                     {block(layer, "attn"), shape.heads * shape.head_size, layer});
}

void DecoderBuilder::finish(ValueId x) {
    x = graph.add(ops::LastRow{.x = x}, {"last_row", graph.hidden});
    x = graph.hidden_states = rmsnorm(x, "output_norm", -1);
    const std::string output = has("output.weight") ? "output.weight" : "token_embd.weight";
    ops::Linear product{.x = x, .weight = weight(output, graph.vocabulary, graph.hidden)};
    if (traits_.output_bias && has("output.bias"))
        product.bias = vector("output.bias", graph.vocabulary);
    graph.logits = graph.add(std::move(product), {"logits", graph.vocabulary});
    graph.unused = unused_parts(file, graph, keys_, blocks_);
}

// Source: the sections of ggml's interleaved M-RoPE. Of a text's four positions three are equal
// and the fourth is 0, so that pairs of the fourth section do not turn.
std::vector<bool> DecoderBuilder::still_pairs(int64_t pairs) const {
    std::vector<bool> still(static_cast<size_t>(pairs), false);
    const MetaValue* value = traits_.rope_sections ? find("rope.dimension_sections") : nullptr;
    if (value == nullptr) return still;
    const auto* list = std::get_if<MetaArray>(&value->value);
    if (list == nullptr || list->empty() || list->size() > 4)
        fail(fmt::format("{}.rope.dimension_sections is no list of one to four numbers", arch));
    int64_t sections[4] = {}, all = 0;
    for (size_t i = 0; i < list->size(); ++i) {
        const auto number = (*list)[i].integer();
        if (!number || *number < 0 || *number > 1 << 20)
            fail(fmt::format("{}.rope.dimension_sections has no number of pairs at place {}", arch,
                             i));
        all += sections[i] = *number;
    }
    if (all == 0) return still;
    for (int64_t i = 0; i < pairs; ++i) {
        const int64_t sector = i % all;
        still[static_cast<size_t>(i)] = sector >= 3 * sections[sector % 3];
    }
    return still;
}

void DecoderBuilder::set_rope(int64_t rotary) {
    const double base = positive("rope.freq_base", 10000.0);
    // A factor without a type, or under its old name, is linear.
    std::string type = "linear";
    if (const MetaValue* value = find("rope.scaling.type")) {
        const auto* text = std::get_if<std::string>(&value->value);
        if (text == nullptr) fail(fmt::format("{}.rope.scaling.type is no text", arch));
        type = *text;
    }
    const double old_factor = positive("rope.scale_linear", 1.0);
    const double told_factor = positive("rope.scaling.factor", old_factor);
    const double factor = type == "none" ? 1.0 : told_factor;
    if (type != "none" && type != "linear" && type != "yarn")
        fail(fmt::format("{}.rope.scaling.type is '{}'; known: none, linear, yarn", arch, type));
    graph.rope_magnitude = positive("rope.scaling.attn_factor", 1.0);
    const std::string divisors_name = "rope_freqs.weight";
    const Tensor* divisors = traits_.rope_freqs ? file.find_tensor(divisors_name) : nullptr;
    if (divisors != nullptr) graph.rope_divisors = vector(divisors_name, rotary / 2);

    double low = 0, high = 0;
    if (type == "yarn") {
        const double original = positive("rope.scaling.original_context_length",
                                         static_cast<double>(graph.trained_context));
        low = std::max(0.0, std::floor(yarn_dimension(kYarnFast, original, base, rotary)));
        high = std::min(static_cast<double>(rotary) - 1,
                        std::ceil(yarn_dimension(kYarnSlow, original, base, rotary)));
        graph.rope_magnitude *= 1.0 + 0.1 * std::log(factor);
    }
    const std::vector<bool> still = still_pairs(rotary / 2);
    for (int64_t i = 0; i < rotary / 2; ++i) {
        double frequency =
            std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
        if (divisors != nullptr && !divisors->data.empty()) {
            float divisor;
            std::memcpy(&divisor, divisors->data.data() + i * 4, 4);
            if (!(divisor > 0) || !std::isfinite(divisor))
                fail(fmt::format("tensor '{}' has {} at place {}, which is no positive number",
                                 divisors_name, divisor, i));
            frequency /= static_cast<double>(divisor);
        }
        if (type == "linear") frequency /= factor;
        if (type == "yarn") {
            const double ramp =
                std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
            frequency = frequency * (1 - ramp) + frequency / factor * ramp;
        }
        if (still[static_cast<size_t>(i)]) frequency = 0;
        graph.rope_turns.push_back(frequency / (2 * std::numbers::pi));
    }
}

}  // namespace hetune
