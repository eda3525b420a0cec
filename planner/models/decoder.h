// What the decoder-only families share when they build their layer graphs: checked access to
// hyper-parameters and tensors, and the blocks that differ only in names and sizes.
#pragma once

#include <string>

#include "planner/layer_graph.h"

namespace hetune {

// Sizes of the softmax attention layers.
struct AttentionShape {
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t head_size = 0;
    int64_t rotary = 0;
    bool interleaved = false;  // pairs (2i, 2i+1): ggml's "norm" rope; else (i, i + rotary/2)
};

class DecoderBuilder {
  public:
    // Multi-token-prediction layers at the end of the file are counted out, with a note.
    explicit DecoderBuilder(const ModelFile& file);

    const ModelFile& file;
    std::string arch;  // prefix of the metadata keys
    LayerGraph graph;
    double eps = 1e-6;

    // "<arch>.<key>", within [low, high]. Throws ModelError.
    int64_t size(const std::string& key, int64_t low, int64_t high) const;
    int64_t size(const std::string& key, int64_t low, int64_t high, int64_t fallback) const;
    // The name of a tensor after checking that it is [rows, cols]. Throws ModelError.
    std::string weight(const std::string& name, int64_t rows, int64_t cols) const;
    // The same for F32 tensors that kernels read as they stand in the file.
    std::string floats(const std::string& name, int64_t rows, int64_t cols) const;
    std::string vector(const std::string& name, int64_t count) const {
        return floats(name, 1, count);
    }
    bool has(const std::string& name) const { return file.find_tensor(name) != nullptr; }

    ValueId embed();
    ValueId rmsnorm(ValueId x, const std::string& tensor, int layer);
    // y = W x, with "<tensor>.weight" and, where the file has it, "<tensor>.bias".
    ValueId linear(ValueId x, const std::string& tensor, int64_t rows, int layer);
    ValueId add(ValueId a, ValueId b, const std::string& name, int layer);
    // down(silu(gate x) * up x), from blk.N.ffn_{gate,up,down}<suffix>.
    ValueId swiglu(ValueId x, int64_t inner, int layer, const std::string& suffix = "");
    // The feed-forward part of a layer: routed experts where the file has expert_count, to which a
    // shared expert is added where it has one, else swiglu.
    ValueId feed_forward(ValueId x, int layer);

    // Reads attention.* and rope.*, and fills graph.rope_turns.
    AttentionShape attention_shape(bool interleaved);
    ValueId head_rmsnorm(ValueId x, const std::string& tensor, int64_t head_size, int layer);
    ValueId rope(ValueId x, const std::string& name, const AttentionShape& shape, int layer);
    // Takes the next place in the KV cache.
    ValueId attention(ValueId q, ValueId k, ValueId v, const AttentionShape& shape, int layer);

    // Final norm and output matrix (tied to the embedding where the file has none).
    void finish(ValueId x);

    // Fills graph.rope_turns from the rope.* metadata (none, linear, YaRN) and rope_freqs.weight
    // (llama3). Sources: YaRN, arXiv 2309.00071; linear: positions divided by the factor.
    void set_rope(int64_t rotary);

  private:
    ValueId experts(ValueId x, int64_t count, int layer);
    ValueId shared_expert(ValueId x, int layer);
    int64_t width(ValueId x) const { return graph.values[static_cast<size_t>(x)].width; }
    int attention_layers_ = 0;
};

}  // namespace hetune
