#include "planner/graph/models/transformer.h"

#include <fmt/format.h>

namespace hetune {

LayerGraph build_transformer(const ModelFile& file, const TransformerTraits& traits) {
    DecoderBuilder b(file, traits.file);
    const AttentionShape first = b.attention_shape(traits.interleaved_rope, 0);
    AttentionShape shape;
    const auto normed_rope = [&](ValueId x, const std::string& tensor, int layer) {
        if (traits.head_norm) x = b.head_rmsnorm(x, tensor + "_norm", shape.head_size, layer);
        return b.rope(x, b.graph.values[static_cast<size_t>(x)].name + ".rope", shape, layer);
    };
    ValueId x = b.embed();
    for (int layer = 0; layer < b.graph.layers; ++layer) {
        const std::string blk = fmt::format("blk.{}.", layer);
        const ValueId normed = b.rmsnorm(x, blk + "attn_norm", layer);
        shape = b.attention_shape(first, layer);
        const auto [q, k, v] = b.project(normed, shape, shape.heads * shape.head_size, layer);
        const ValueId turned_q = normed_rope(q, blk + "attn_q", layer);
        const ValueId turned_k = normed_rope(k, blk + "attn_k", layer);
        const ValueId attention = b.attention(turned_q, turned_k, v, shape, layer);
        const ValueId out = b.attention_output(attention, layer);
        x = b.add(x, out, blk + "attn_residual", layer);
        const ValueId ffn_in = b.rmsnorm(x, blk + "ffn_norm", layer);
        x = b.add(x, b.feed_forward(ffn_in, layer), blk + "ffn_residual", layer);
    }
    b.finish(x);
    return std::move(b.graph);
}

}  // namespace hetune
