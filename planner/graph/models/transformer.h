// Decoder-only transformers whose layers are softmax attention and a feed-forward part: the
// families differ in the tensors that their files have and in how rope pairs dimensions.
#pragma once

#include "planner/graph/models/decoder.h"

namespace hetune {

struct TransformerTraits {
    bool interleaved_rope = false;  // AttentionShape::interleaved
    bool head_norm = false;         // RMSNorm of each q and k head before rope
    FileTraits file = {};
};

// blk.N: attn_norm, attn_{q,k,v} or attn_qkv, [attn_{q,k}_norm], attn_output, ffn_norm, and a dense
// or expert feed-forward part (DecoderBuilder::feed_forward). Throws ModelError.
LayerGraph build_transformer(const ModelFile& file, const TransformerTraits& traits);

}  // namespace hetune
