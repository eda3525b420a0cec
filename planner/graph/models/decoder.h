// What the decoder-only families share when they build their layer graphs: checked access to
// hyper-parameters and tensors, and the blocks that differ only in names and sizes.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "planner/graph/layer_graph.h"

namespace hetune {

// Which optional parts the files of a family may have. llama.cpp 0.7.0 refuses a file with others
// ("wrong number of tensors"); here they are LayerGraph::unused. Each was tried on llama.cpp.
struct FileTraits {
    bool rope_freqs = false;     // divisors of the rotary frequencies
    bool rope_sections = false;  // sections of rotary pairs, for images; texts ask which turn
    bool layer_bias = false;     // biases of attn_output and of the dense feed-forward part
    bool output_bias = false;    // output.bias
    bool inner_scale = true;     // .scale of the dense feed-forward part
    bool experts = false;        // a mixture of experts where expert_count is above 0
    bool dense = true;           // a dense feed-forward part elsewhere
    bool shared_expert = false;  // beside the others
};

// Sizes of a softmax attention layer.
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
    DecoderBuilder(const ModelFile& file, const FileTraits& traits);

    const ModelFile& file;
    std::string arch;  // prefix of the metadata keys
    LayerGraph graph;
    double eps = 0;

    // "<arch>.<key>", within [low, high]. A list has a value for each layer of the file; without
    // a layer it is an error. Throws ModelError.
    static constexpr int kNoLayer = -1;
    int64_t size(const std::string& key, int64_t low, int64_t high,
                 std::optional<int64_t> fallback = {}, int layer = kNoLayer) const;
    // "<arch>.<key>", a finite number above 0.
    double positive(const std::string& key, double fallback) const;
    // nullptr when "<arch>.<key>" is missing. Every key that is asked for counts as read.
    const MetaValue* find(const std::string& key) const;
    // The element of a list with a value for each layer of the file, or the value itself.
    const MetaValue& of_layer(const std::string& key, const MetaValue& value, int layer) const;
    [[noreturn]] void fail(const std::string& what) const;

    // The name of a tensor after checking that it is [rows, cols] of a type that kernels read.
    // Throws ModelError.
    std::string weight(const std::string& name, int64_t rows, int64_t cols) const;
    // The same for F32 tensors that kernels read as they stand in the file.
    std::string floats(const std::string& name, int64_t rows, int64_t cols) const;
    std::string vector(const std::string& name, int64_t count) const {
        return floats(name, 1, count);
    }
    bool has(const std::string& name) const { return file.find_tensor(name) != nullptr; }

    ValueId embed();
    ValueId rmsnorm(ValueId x, const std::string& tensor, int layer);

    // A matrix, alone in its tensor or some rows of one that holds several.
    struct Matrix {
        std::string name;            // of the value: "blk.0.attn_q"
        int64_t rows = 0;            // of this matrix
        std::string tensor = {};     // "blk.0.attn_qkv" without ".weight"; "": `name`
        int64_t first = 0, all = 0;  // the first row of this matrix; rows of the tensor, 0: `rows`
        bool bias = false;           // may have "<tensor>.bias"
        bool scale = true;           // may have "<tensor>.scale"
        bool bias_first = false;     // the scale multiplies the bias too
    };
    // y = W x, with "<tensor>.scale" and "<tensor>.bias" where the file has them.
    ValueId linear(ValueId x, const Matrix& matrix, int layer);
    // q, k and v of a layer, with biases where it has them: attn_q, attn_k and attn_v, or
    // attn_qkv with the rows of all. `q_rows`: of attn_q, more than heads where it has a gate.
    struct Projections {
        ValueId q, k, v;
    };
    Projections project(ValueId x, const AttentionShape& shape, int64_t q_rows, int layer);

    ValueId add(ValueId a, ValueId b, const std::string& name, int layer);
    // The feed-forward part of a layer: routed experts, to which a shared expert is added where
    // there is one, or down(silu(gate x) * up x).
    ValueId feed_forward(ValueId x, int layer);

    // Reads attention.* and rope.*, and fills graph.rope_turns. `layer`: the first with attention.
    AttentionShape attention_shape(bool interleaved, int layer);
    // Sizes of another layer: its heads may differ.
    AttentionShape attention_shape(const AttentionShape& first, int layer) const;
    ValueId head_rmsnorm(ValueId x, const std::string& tensor, int64_t head_size, int layer);
    ValueId rope(ValueId x, const std::string& name, const AttentionShape& shape, int layer);
    // Takes the next place in the KV cache.
    ValueId attention(ValueId q, ValueId k, ValueId v, const AttentionShape& shape, int layer);
    ValueId attention_output(ValueId x, int layer);

    // Final norm and output matrix (tied to the embedding where the file has none), and
    // graph.unused.
    void finish(ValueId x);

  private:
    // Fills graph.rope_turns from the rope.* metadata (none, linear, YaRN) and rope_freqs.weight
    // (llama3). Sources: YaRN, arXiv 2309.00071; linear: positions divided by the factor.
    void set_rope(int64_t rotary);
    // Pairs that turn with none of a text's positions (rope.dimension_sections).
    std::vector<bool> still_pairs(int64_t pairs) const;
    ValueId swiglu(ValueId x, int64_t inner, int layer, const std::string& suffix = "");
    ValueId experts(ValueId x, int64_t count, int layer);
    ValueId shared_expert(ValueId x, int layer);
    int64_t width(ValueId x) const { return graph.values[static_cast<size_t>(x)].width; }

    FileTraits traits_;
    int blocks_ = 0;  // of the file, those of multi-token prediction among them
    int attention_layers_ = 0;
    mutable std::set<std::string> keys_;  // that were asked for
};

}  // namespace hetune
