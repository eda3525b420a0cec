// The oracle: runs a LayerGraph op by op in float32 on the CPU. Slow, plain, needs no compiler.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "planner/graph/layer_graph.h"
#include "planner/plan/kv_type.h"
#include "runtime/oracle/engine.h"

namespace hetune {

// Where the oracle rounds as kernels do, so that a distance to it is a fault and no rounding.
struct OracleRounding {
    // Inputs of products with integer formats to 8 bits, in blocks of 32 with one scale (XBlock).
    bool activations = false;
    // Names of the weights whose products take halves on matrix units: their inputs stay unrounded.
    std::set<std::string> halves = {};
    KvType kv = KvType::kF32;  // keys and values as the KV cache holds them
};

class ReferenceEngine : public Engine {
  public:
    // The file must outlive the engine.
    ReferenceEngine(const ModelFile& file, LayerGraph graph, int64_t context,
                    OracleRounding rounding = {});

    std::vector<float> forward(std::span<const int32_t> tokens, bool every_row) override;
    // Draws with runtime/oracle/sampler.h; asks DrawLimit::cancelled now and then
    // within a prompt.
    int32_t prompt(std::span<const int32_t> tokens, const Sampling& sampling,
                   const DrawLimit& limit) override;
    int32_t next() override;
    std::span<const int32_t> tokens() const override { return tokens_; }
    void reset() override;
    void truncate(int64_t count) override;
    int64_t position() const override { return position_; }
    int64_t vocabulary() const override { return graph_.vocabulary; }
    int64_t context() const override { return context_; }

    const LayerGraph& graph() const { return graph_; }
    // A value of the last forward, [rows, width].
    std::span<const float> value(ValueId id) const { return values_[static_cast<size_t>(id)]; }

    // What a primitive sees of the engine. Primitives register themselves by kind
    // (runtime/oracle/ops_*.cc).
    struct Step {
        const ModelFile& file;
        const LayerGraph& graph;
        const Op& op;
        std::span<const int32_t> tokens;
        int64_t position;  // of the first row
        int64_t context;
        std::vector<std::vector<float>>& values;
        // Kept between forwards: KV caches, recurrent states.
        std::map<std::string, std::vector<float>>& state;
        const OracleRounding& rounding;

        int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
        std::span<const float> in(size_t index) const;
        std::span<float> out(size_t index) const;  // resized to [rows, width]
        int64_t width(ValueId id) const { return graph.values[static_cast<size_t>(id)].width; }
        const Tensor& weight(size_t index) const { return file.tensor(op.weights[index]); }
        // `x` as a product with the first `count` weights from `first` on reads it.
        std::vector<float> factor(std::span<const float> x, size_t first, size_t count) const;
    };
    using Primitive = void (*)(const Step&);
    struct Register {
        Register(const std::string& kind, Primitive run);
    };

  private:
    // Runs tokens_ from position_ to `end`; gives the logits of each of them.
    std::span<const float> run_to(int64_t end);
    int32_t draw(std::span<const float> logits);
    [[noreturn]] void throw_number_error();

    const ModelFile& file_;
    LayerGraph graph_;
    int64_t context_;
    OracleRounding rounding_;
    int64_t position_ = 0;
    std::vector<int32_t> tokens_;  // of the context, and the one drawn last
    Sampling sampling_;            // of the generation
    int32_t drawable_ = 0;         // DrawLimit::vocabulary
    uint32_t draws_ = 0;           // the number of the next one
    std::vector<std::vector<float>> values_;
    std::map<std::string, std::vector<float>> state_;
};

}  // namespace hetune
