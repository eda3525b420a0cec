// Qwen3, dense: grouped-query attention with per-head RMSNorm on q and k, NeoX rope, SwiGLU.
// GGUF names as llama.cpp's converter writes them.
#include <fmt/format.h>

#include <cmath>

#include "planner/models/decoder.h"

namespace hetune {
namespace {

LayerGraph build_qwen3(const ModelFile& file) {
    DecoderBuilder b(file);
    const int64_t heads = b.size("attention.head_count", 1, 4096);
    const int64_t kv_heads = b.size("attention.head_count_kv", 1, heads, heads);
    const int64_t head_size = b.size("attention.key_length", 16, 512, b.graph.hidden / heads);
    const int64_t inner = b.size("feed_forward_length", 32, 1 << 20);
    const int64_t rotary = b.size("rope.dimension_count", 2, head_size, head_size);
    if (heads % kv_heads != 0)
        throw ModelError(fmt::format("{}: {} query heads are no multiple of {} KV heads",
                                     file.path().string(), heads, kv_heads));
    b.set_rope(rotary, 1e6);

    auto normed_rope = [&](ValueId x, const std::string& norm, int64_t count, int layer) {
        const double n = static_cast<double>(count);
        const double size = static_cast<double>(head_size);
        x = b.graph.add_op({.kind = "head_rmsnorm",
                            .inputs = {x},
                            .weights = {b.vector(norm + ".weight", head_size)},
                            .attributes = {{"heads", n}, {"head_size", size}, {"eps", b.eps}},
                            .layer = layer},
                           norm, count * head_size);
        return b.graph.add_op({.kind = "rope",
                               .inputs = {x},
                               .attributes = {{"heads", n},
                                              {"head_size", size},
                                              {"rotary", static_cast<double>(rotary)},
                                              {"interleaved", 0}},
                               .layer = layer},
                              norm + ".rope", count * head_size);
    };

    ValueId x = b.embed();
    for (int layer = 0; layer < b.graph.layers; ++layer) {
        const std::string blk = fmt::format("blk.{}.", layer);
        const ValueId normed = b.rmsnorm(x, blk + "attn_norm", layer);
        ValueId q = b.linear(normed, blk + "attn_q", heads * head_size, layer);
        ValueId k = b.linear(normed, blk + "attn_k", kv_heads * head_size, layer);
        const ValueId v = b.linear(normed, blk + "attn_v", kv_heads * head_size, layer);
        q = normed_rope(q, blk + "attn_q_norm", heads, layer);
        k = normed_rope(k, blk + "attn_k_norm", kv_heads, layer);
        const ValueId attention =
            b.graph.add_op({.kind = "attention",
                            .inputs = {q, k, v},
                            .attributes = {{"heads", static_cast<double>(heads)},
                                           {"kv_heads", static_cast<double>(kv_heads)},
                                           {"head_size", static_cast<double>(head_size)},
                                           {"scale", 1.0 / std::sqrt(static_cast<double>(head_size))},
                                           {"kv", layer}},
                            .layer = layer},
                           blk + "attn", heads * head_size);
        const ValueId out = b.linear(attention, blk + "attn_output", b.graph.hidden, layer);
        x = b.add(x, out, blk + "attn_residual", layer);
        const ValueId ffn_in = b.rmsnorm(x, blk + "ffn_norm", layer);
        x = b.add(x, b.swiglu(ffn_in, inner, layer), blk + "ffn_residual", layer);
    }
    b.finish(x);
    return std::move(b.graph);
}

const RegisterModel kQwen3("qwen3", build_qwen3);

}  // namespace
}  // namespace hetune
