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

    int64_t vocabulary() const override { return graph_.vocabulary; }
    int64_t context() const override { return context_; }
    // There is one slot.
    bool take_slot(SequenceState& sequence) override;
    void give_back(SequenceState& sequence) override;
    void compute(SequenceState& sequence) override;
    void read_logits(SequenceState& sequence, std::vector<float>& to) override;
    // Draws with runtime/oracle/sampler.h.
    void prepare(SequenceState& sequence, bool draws) override;
    int32_t draw_first(SequenceState& sequence, const Sampling& sampling,
                       const DrawLimit& limit) override;
    std::span<const int32_t> draw(SequenceState& sequence) override;

    const LayerGraph& graph() const { return graph_; }
    // A value of the last step, [rows, width].
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
        // Kept between steps: KV caches, recurrent states.
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
    // The tokens behind `computed`, up to `end`.
    void run_to(SequenceState& sequence, int64_t end);
    // Of the last `rows` rows of the last step.
    std::span<const float> logits(int64_t rows) const;
    int32_t draw_one(SequenceState& sequence);
    [[noreturn]] void throw_number_error(SequenceState& sequence);

    const ModelFile& file_;
    LayerGraph graph_;
    int64_t context_;
    OracleRounding rounding_;
    bool taken_ = false;     // the slot
    int64_t position_ = 0;   // tokens that state_ holds
    int64_t last_rows_ = 0;  // of the last step; 0: its logits are gone
    Sampling sampling_;      // of the generation
    DrawLimit limit_;
    uint32_t draws_ = 0;  // the number of the next one
    int32_t drawn_ = 0;   // the last one
    std::vector<std::vector<float>> values_;
    std::map<std::string, std::vector<float>> state_;
};

// The logits of each token, [tokens, vocabulary], by an oracle whose slot is free. Its values are
// then those of all tokens.
std::vector<float> oracle_logits(ReferenceEngine& oracle, std::span<const int32_t> tokens);

}  // namespace hetune
