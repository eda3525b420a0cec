#include "planner/models/hybrid.h"

#include <fmt/format.h>

#include "planner/models/decoder.h"

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
        throw ModelError(
            fmt::format("{}: {} value heads do not divide ssm.inner_size {} and share "
                        "{} key heads",
                        b.file.path().string(), shape.value_heads, inner, shape.key_heads));
    return shape;
}

// q and its gate come from one projection, head by head; the gate acts on the attention's result.
ValueId gated_attention(DecoderBuilder& b, ValueId x, const AttentionShape& shape, int layer) {
    const std::string blk = fmt::format("blk.{}.", layer);
    const int64_t width = shape.heads * shape.head_size;
    const ValueId both = b.linear(x, blk + "attn_q", 2 * width, layer);
    ValueId q = b.graph.add_value(blk + "attn_q.query", width);
    const ValueId gate = b.graph.add_value(blk + "attn_q.gate", width);
    b.graph.ops.push_back({.kind = "split_heads",
                           .inputs = {both},
                           .outputs = {q, gate},
                           .attributes = {{"heads", static_cast<double>(shape.heads)},
                                          {"head_size", static_cast<double>(shape.head_size)}},
                           .layer = layer});
    ValueId k = b.linear(x, blk + "attn_k", shape.kv_heads * shape.head_size, layer);
    const ValueId v = b.linear(x, blk + "attn_v", shape.kv_heads * shape.head_size, layer);
    q = b.head_rmsnorm(q, blk + "attn_q_norm", shape.head_size, layer);
    k = b.head_rmsnorm(k, blk + "attn_k_norm", shape.head_size, layer);
    q = b.rope(q, blk + "attn_q_norm.rope", shape, layer);
    k = b.rope(k, blk + "attn_k_norm.rope", shape, layer);
    const ValueId attention = b.attention(q, k, v, shape, layer);
    const ValueId gated =
        b.graph.add_op({.kind = "sigmoid_mul", .inputs = {attention, gate}, .layer = layer},
                       blk + "attn_gated", width);
    return b.linear(gated, blk + "attn_output", b.graph.hidden, layer);
}

ValueId delta_net(DecoderBuilder& b, ValueId x, const DeltaNetShape& shape, int state, int layer) {
    const std::string blk = fmt::format("blk.{}.", layer);
    const int64_t channels = 2 * shape.keys() + shape.values();
    const ValueId qkv = b.linear(x, blk + "attn_qkv", channels, layer);
    const ValueId z = b.linear(x, blk + "attn_gate", shape.values(), layer);
    const ValueId alpha = b.linear(x, blk + "ssm_alpha", shape.value_heads, layer);
    const ValueId beta = b.linear(x, blk + "ssm_beta", shape.value_heads, layer);
    const double number = state;
    const ValueId conv = b.graph.add_op(
        {.kind = "causal_conv",
         .inputs = {qkv},
         .weights = {b.floats(blk + "ssm_conv1d.weight", channels, shape.taps)},
         .attributes = {{"taps", static_cast<double>(shape.taps)}, {"state", number}},
         .layer = layer},
        blk + "ssm_conv1d", channels);
    const ValueId out =
        b.graph.add_op({.kind = "delta_net",
                        .inputs = {conv, alpha, beta},
                        .weights = {b.vector(blk + "ssm_a", shape.value_heads),
                                    b.vector(blk + "ssm_dt.bias", shape.value_heads)},
                        .attributes = {{"key_heads", static_cast<double>(shape.key_heads)},
                                       {"value_heads", static_cast<double>(shape.value_heads)},
                                       {"key_size", static_cast<double>(shape.key_size)},
                                       {"value_size", static_cast<double>(shape.value_size)},
                                       {"eps", b.eps},
                                       {"state", number}},
                        .layer = layer},
                       blk + "delta_net", shape.values());
    const ValueId normed =
        b.graph.add_op({.kind = "gated_rmsnorm",
                        .inputs = {out, z},
                        .weights = {b.vector(blk + "ssm_norm.weight", shape.value_size)},
                        .attributes = {{"heads", static_cast<double>(shape.value_heads)},
                                       {"head_size", static_cast<double>(shape.value_size)},
                                       {"eps", b.eps}},
                        .layer = layer},
                       blk + "ssm_norm", shape.values());
    return b.linear(normed, blk + "ssm_out", b.graph.hidden, layer);
}

}  // namespace

LayerGraph build_hybrid(const ModelFile& file) {
    DecoderBuilder b(file);
    const AttentionShape attention = b.attention_shape(false);
    const DeltaNetShape recurrent = delta_net_shape(b);
    const int64_t interval = b.size("full_attention_interval", 1, 1000, 4);
    int states = 0;
    ValueId x = b.embed();
    for (int layer = 0; layer < b.graph.layers; ++layer) {
        const std::string blk = fmt::format("blk.{}.", layer);
        const ValueId normed = b.rmsnorm(x, blk + "attn_norm", layer);
        const ValueId mixed = (layer + 1) % interval == 0
                                  ? gated_attention(b, normed, attention, layer)
                                  : delta_net(b, normed, recurrent, states++, layer);
        x = b.add(x, mixed, blk + "attn_residual", layer);
        const ValueId ffn_in = b.rmsnorm(x, blk + "post_attention_norm", layer);
        x = b.add(x, b.feed_forward(ffn_in, layer), blk + "ffn_residual", layer);
    }
    b.finish(x);
    return std::move(b.graph);
}

}  // namespace hetune
