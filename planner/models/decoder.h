// What the decoder-only families share when they build their layer graphs: checked access to
// hyper-parameters and tensors, and the blocks that differ only in names and sizes.
#pragma once

#include <string>

#include "planner/layer_graph.h"

namespace hetune {

class DecoderBuilder {
  public:
    explicit DecoderBuilder(const ModelFile& file);

    const ModelFile& file;
    std::string arch;       // prefix of the metadata keys
    LayerGraph graph;
    double eps = 1e-6;

    // "<arch>.<key>", within [low, high]. Throws ModelError.
    int64_t size(const std::string& key, int64_t low, int64_t high) const;
    int64_t size(const std::string& key, int64_t low, int64_t high, int64_t fallback) const;
    // The name of a tensor after checking that it is [rows, cols]. Throws ModelError.
    std::string weight(const std::string& name, int64_t rows, int64_t cols) const;
    std::string vector(const std::string& name, int64_t size) const;
    bool has(const std::string& name) const { return file.find_tensor(name) != nullptr; }

    ValueId embed();
    ValueId rmsnorm(ValueId x, const std::string& tensor, int layer);
    // y = W x, with "<tensor>.weight" and, where the file has it, "<tensor>.bias".
    ValueId linear(ValueId x, const std::string& tensor, int64_t rows, int layer);
    ValueId add(ValueId a, ValueId b, const std::string& name, int layer);
    // down(silu(gate x) * up x), from blk.N.ffn_{gate,up,down}.
    ValueId swiglu(ValueId x, int64_t inner, int layer);
    // Final norm and output matrix (tied to the embedding where the file has none).
    void finish(ValueId x);

    // Fills graph.rope_turns from the rope.* metadata (none, linear, YaRN) and rope_freqs.weight
    // (llama3). Sources: YaRN, arXiv 2309.00071; linear: positions divided by the factor.
    void set_rope(int64_t rotary, double default_base);

  private:
    int64_t width(ValueId x) const { return graph.values[static_cast<size_t>(x)].width; }
};

}  // namespace hetune
