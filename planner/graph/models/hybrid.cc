#include "planner/graph/models/hybrid.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

namespace hetune {
namespace {

struct DeltaNetShape {
    int64_t key_heads, value_heads, key_size, value_size, taps;

    int64_t keys() const { return key_heads * key_size; }
    int64_t values() const { return value_heads * value_size; }
};

DeltaNetShape delta_net_shape(const DecoderBuilder& b) {
    DeltaNetShape shape;
    shape.key_heads = b.size("ssm.group_count", 1, 1024);
    shape.value_heads = b.size("ssm.time_step_rank", shape.key_heads, 4096);
    shape.key_size = b.size("ssm.state_size", 16, 256);
    shape.taps = b.size("ssm.conv_kernel", 2, 16);
    const int64_t inner = b.size("ssm.inner_size", 16, 1 << 20);
    shape.value_size = inner / shape.value_heads;
    if (shape.value_heads % shape.key_heads != 0 || inner % shape.value_heads != 0)
        b.fail(fmt::format("{} value heads do not divide ssm.inner_size {} and share {} key heads",
                           shape.value_heads, inner, shape.key_heads));
    return shape;
}

// q and its gate come from one projection, head by head; the gate acts on the attention's result.
ValueId gated_attention(DecoderBuilder& b, ValueId x, const AttentionShape& shape, int layer) {
    const std::string blk = fmt::format("blk.{}.", layer);
    const int64_t width = shape.heads * shape.head_size;
    auto [both, k, v] = b.project(x, shape, 2 * width, layer);
    ValueId q = b.graph.add_value({blk + "attn_q.query", width, layer});
    const ValueId gate = b.graph.add_value({blk + "attn_q.gate", width, layer});
    b.graph.ops.push_back(ops::SplitHeads{
        .x = both, .a = q, .b = gate, .heads = shape.heads, .head_size = shape.head_size});
    q = b.head_rmsnorm(q, blk + "attn_q_norm", shape.head_size, layer);
    k = b.head_rmsnorm(k, blk + "attn_k_norm", shape.head_size, layer);
    q = b.rope(q, blk + "attn_q_norm.rope", shape, layer);
    k = b.rope(k, blk + "attn_k_norm.rope", shape, layer);
    const ValueId attention = b.attention(q, k, v, shape, layer);
    const ValueId gated = b.graph.add(ops::SigmoidMul{.x = attention, .gate = gate},
                                      {blk + "attn_gated", width, layer});
    return b.attention_output(gated, layer);
}

ValueId delta_net(DecoderBuilder& b, ValueId x, const DeltaNetShape& shape, int state, int layer) {
    const std::string blk = fmt::format("blk.{}.", layer);
    const int64_t channels = 2 * shape.keys() + shape.values();
    const ValueId qkv = b.linear(x, {.name = blk + "attn_qkv", .rows = channels}, layer);
    const ValueId z = b.linear(x, {.name = blk + "attn_gate", .rows = shape.values()}, layer);
    const ValueId alpha =
        b.linear(x, {.name = blk + "ssm_alpha", .rows = shape.value_heads}, layer);
    const ValueId beta = b.linear(x, {.name = blk + "ssm_beta", .rows = shape.value_heads}, layer);
    const ValueId conv = b.graph.add(
        ops::CausalConv{.x = qkv,
                        .weight = b.floats(blk + "ssm_conv1d.weight", channels, shape.taps),
                        .taps = shape.taps,
                        .state = state},
        {blk + "ssm_conv1d", channels, layer});
    const ValueId out =
        b.graph.add(ops::DeltaNet{.qkv = conv,
                                  .a = alpha,
                                  .b = beta,
                                  .ssm_a = b.vector(blk + "ssm_a", shape.value_heads),
                                  .dt_bias = b.vector(blk + "ssm_dt.bias", shape.value_heads),
                                  .key_heads = shape.key_heads,
                                  .value_heads = shape.value_heads,
                                  .key_size = shape.key_size,
                                  .value_size = shape.value_size,
                                  .eps = b.eps,
                                  .state = state},
                    {blk + "delta_net", shape.values(), layer});
    const ValueId normed =
        b.graph.add(ops::GatedRmsNorm{.x = out,
                                      .gate = z,
                                      .weight = b.vector(blk + "ssm_norm.weight", shape.value_size),
                                      .heads = shape.value_heads,
                                      .head_size = shape.value_size,
                                      .eps = b.eps},
                    {blk + "ssm_norm", shape.values(), layer});
    return b.linear(normed, {.name = blk + "ssm_out", .rows = b.graph.hidden}, layer);
}

// attention.recurrent_layers says which layers are; else all but every interval-th.
std::vector<bool> recurrent_layers(const DecoderBuilder& b) {
    const int64_t interval = b.size("full_attention_interval", 1, 1000, 4);
    const MetaValue* told = b.find("attention.recurrent_layers");
    std::vector<bool> recurrent;
    for (int layer = 0; layer < b.graph.layers; ++layer) {
        if (told == nullptr) {
            recurrent.push_back((layer + 1) % interval != 0);
            continue;
        }
        const MetaValue& value = b.of_layer("attention.recurrent_layers", *told, layer);
        const auto* flag = std::get_if<bool>(&value.value);
        recurrent.push_back(flag != nullptr ? *flag : value.integer().value_or(0) != 0);
    }
    return recurrent;
}

}  // namespace

LayerGraph build_hybrid(const ModelFile& file, const FileTraits& traits) {
    DecoderBuilder b(file, traits);
    const std::vector<bool> recurrent = recurrent_layers(b);
    const DeltaNetShape delta = delta_net_shape(b);
    std::optional<AttentionShape> attention;
    int states = 0;
    ValueId x = b.embed();
    for (int layer = 0; layer < b.graph.layers; ++layer) {
        const std::string blk = fmt::format("blk.{}.", layer);
        const ValueId normed = b.rmsnorm(x, blk + "attn_norm", layer);
        ValueId mixed;
        if (recurrent[static_cast<size_t>(layer)]) {
            mixed = delta_net(b, normed, delta, states++, layer);
        } else {
            attention =
                attention ? b.attention_shape(*attention, layer) : b.attention_shape(false, layer);
            mixed = gated_attention(b, normed, *attention, layer);
        }
        x = b.add(x, mixed, blk + "attn_residual", layer);
        const ValueId ffn_in = b.rmsnorm(x, blk + "post_attention_norm", layer);
        x = b.add(x, b.feed_forward(ffn_in, layer), blk + "ffn_residual", layer);
    }
    b.finish(x);
    return std::move(b.graph);
}

}  // namespace hetune
