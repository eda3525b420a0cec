// The oracle: runs a LayerGraph op by op in float32 on the CPU. Slow, plain, needs no compiler.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "planner/graph/layer_graph.h"
#include "runtime/oracle/engine.h"
#include "runtime/oracle/ops.h"

namespace hetune {

class ReferenceEngine : public Engine {
  public:
    // The file must outlive the engine.
    ReferenceEngine(const ModelFile& file, LayerGraph graph, int64_t context,
                    OracleRounding rounding = {});

    int64_t vocabulary() const override { return graph_.vocabulary; }
    int64_t context() const override { return context_; }
    // There is one slot.
    bool take_slot(SequenceState& sequence, int64_t tokens, int64_t most) override;
    void give_back(SequenceState& sequence) override;
    using Engine::compute;
    void compute(std::span<SequenceState* const> sequences) override;
    void read_output(SequenceState& sequence, std::vector<float>& to) override;
    // Draws with runtime/oracle/sampler.h.
    void prepare(SequenceState& sequence, bool draws) override;
    int32_t draw_first(SequenceState& sequence, const Sampling& sampling,
                       const DrawLimit& limit) override;
    void draw(std::span<SequenceState* const> sequences) override;
    void check_draw(SequenceState& sequence) override;

    const LayerGraph& graph() const { return graph_; }
    // A value of the last step, [rows, width].
    std::span<const float> value(ValueId id) const { return values_[static_cast<size_t>(id)]; }

  private:
    // The tokens behind `computed`, up to `end`.
    void run_to(SequenceState& sequence, int64_t end);
    // Logits of the last `rows` rows of the last step.
    std::span<const float> logits(int64_t rows) const;
    // Appends it, unless it is kNothingDrawn.
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
    std::vector<std::vector<float>> values_;
    std::map<std::string, std::vector<float>> state_;
};

// The logits of each token, [tokens, vocabulary], by an oracle whose slot is free. Its values are
// then those of all tokens.
std::vector<float> oracle_logits(ReferenceEngine& oracle, std::span<const int32_t> tokens);

}  // namespace hetune
