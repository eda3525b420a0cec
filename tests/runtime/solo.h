// One sequence on an engine, or on a model on a device, stepped by the thread of the test.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "runtime/engine/stepper.h"
#include "runtime/oracle/reference_engine.h"

namespace hetune {

class OneSequence {
  public:
    explicit OneSequence(Engine& engine) : engine_(engine) {
        state_.tokens.reserve(static_cast<size_t>(engine.context()) + 1);
        state_.stretches.reserve(64);
        engine_.take_slot(state_, engine.context(), 0);
    }
    ~OneSequence() { engine_.give_back(state_); }
    OneSequence(const OneSequence&) = delete;
    OneSequence& operator=(const OneSequence&) = delete;

    // Appends tokens and gives logits of every one, or of the last; a single one takes the decode
    // plan.
    std::vector<float> forward(std::span<const int32_t> tokens, bool every_row) {
        drop_pending();
        using enum SequenceState::Path;
        return append_for_output(engine_, state_, tokens,
                                 every_row            ? kEachLogits
                                 : tokens.size() == 1 ? kAnswer
                                                      : kPrompt);
    }
    // Appends tokens and draws the next one; next() draws another.
    int32_t prompt(std::span<const int32_t> tokens, const Sampling& sampling,
                   const DrawLimit& limit = {.draws = 0}) {
        drop_pending();
        check_fits(tokens, state_.size(), engine_.context(), engine_.vocabulary());
        state_.append(tokens, SequenceState::Path::kPrompt);
        engine_.prepare(state_, true);
        compute_all(engine_, state_);
        return engine_.draw_first(state_, sampling, limit);
    }
    int32_t next() {
        if (taken_ == pending_.size()) {
            pending_ = draw_some(engine_, state_);
            taken_ = 0;
        }
        return pending_[taken_++];
    }
    void truncate(int64_t count) {
        drop_pending();
        state_.cut(count);
    }
    void reset() { truncate(0); }
    std::span<const int32_t> tokens() const { return state_.tokens; }
    // Tokens that are computed.
    int64_t position() {
        drop_pending();
        return state_.computed;
    }
    int64_t room() { return context() - position(); }
    int64_t vocabulary() const { return engine_.vocabulary(); }
    int64_t context() const { return engine_.context(); }
    SequenceState& state() { return state_; }

  private:
    // Draws that landed and were not asked for.
    void drop_pending() {
        const auto rest = static_cast<int64_t>(pending_.size() - taken_);
        if (rest > 0) state_.cut(state_.size() - rest);
        pending_ = {};
        taken_ = 0;
    }

    Engine& engine_;
    SequenceState state_;
    std::span<const int32_t> pending_;
    size_t taken_ = 0;
};

// The engine under Solo's sequence.
struct SoloModel {
    template <class... Args>
    explicit SoloModel(Args&&... args) : loaded(std::forward<Args>(args)...) {}
    LoadedModel loaded;
    ContextMemory memory{loaded};
    Stepper stepper{loaded, memory};
};

class Solo : private SoloModel, public OneSequence {
  public:
    Solo(const ModelFile& file, Device& device, KernelLibrary& library, TileStore* tiles,
         LoadOptions options, const LoadProgress& progress = {}, const LoadChecks& checks = {})
        : SoloModel(file, device, library, tiles, std::move(options), progress, checks),
          OneSequence(stepper) {}

    const LoadedModel& model() const { return loaded; }
    const ContextMemory& context_memory() const { return memory; }
    const LoadOptions& options() const { return loaded.options(); }
    const LayerGraph& graph() const { return loaded.graph(); }
    const std::vector<CertifiedKernel>& certificates() const { return loaded.certificates(); }
    Plan plan_for(const StepKind& kind) const { return loaded.plan_for(kind); }
    // As Stepper::trace, for tokens whose every logit is wanted.
    void trace(std::span<const int32_t> tokens, const Stepper::AfterKernel& after) {
        state().append(tokens, SequenceState::Path::kEachLogits);
        while (state().computed < state().size()) stepper.trace(state(), after);
    }
};

}  // namespace hetune
