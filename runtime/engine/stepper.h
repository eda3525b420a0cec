// Takes the steps of sequences on a device: fills the rows of a step, launches its plan, and hands
// over what was drawn. A step of prompts has rows of one sequence or more; no row's sums depend on
// rows of other sequences. A decode step has one row each of several sequences, by kernels that add
// in the same order as those of one row. So a sequence's tokens do not depend on which others are
// in its steps.
// One thread at a time. After a DeviceError a stepper is not used again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine/context_memory.h"
#include "runtime/engine/draws.h"
#include "runtime/engine/loaded_model.h"
#include "runtime/engine/prefix_reuse.h"
#include "runtime/load/bound_plan.h"
#include "runtime/load/step_state.h"
#include "runtime/oracle/engine.h"

namespace hetune {

class Stepper : public Engine {
  public:
    // Allocates what steps share: scratch, inputs, logits, the sampler's state. Model and memory
    // outlive this.
    Stepper(const LoadedModel& model, ContextMemory& memory);
    ~Stepper() override;

    int64_t vocabulary() const override { return model_.graph().vocabulary; }
    int64_t context() const override { return memory_.context(); }
    int64_t most_drawn() const override { return draws_->most_rows(); }
    bool take_slot(SequenceState& sequence, int64_t tokens, int64_t most) override;
    bool read_prefix(const SequenceState& sequence, int64_t most) override {
        return prefixes_.read(sequence, most);
    }
    bool write_prefix() override { return memory_.write_piece(); }
    void give_back(SequenceState& sequence) override;
    void keep_prefix(SequenceState& sequence) override;
    int64_t expect_parting(SequenceState& sequence, int64_t tokens) override {
        return prefixes_.divide(sequence, tokens);
    }
    using Engine::compute;
    void compute(std::span<SequenceState* const> sequences) override;
    void read_output(SequenceState& sequence, std::vector<float>& to) override;
    void prepare(SequenceState& sequence, bool draws) override;
    int32_t draw_first(SequenceState& sequence, const Sampling& sampling,
                       const DrawLimit& limit) override;
    // Launches what is missing behind the draws in flight, sleeps until the oldest launch is done,
    // takes its draws. Where the sequences are others than before, what is in flight lands first.
    void draw(std::span<SequenceState* const> sequences) override;
    void check_draw(SequenceState& sequence) override;
    double waited_seconds() const override { return draws_->waited_seconds(); }

    // Like compute(), but launches one kernel after another and calls `after` behind each, while
    // its results are there to read. Does not look at the logits.
    using AfterKernel = std::function<void(const BoundPlan& plan, size_t step, int rows)>;
    void trace(SequenceState& sequence, const AfterKernel& after);

    const LoadedModel& model() const { return model_; }
    // Rows of all steps of prompts since the start.
    int64_t prompt_rows() const { return prompt_rows_; }
    // The plans for one decoded token and for a step of a prompt, bound.
    BoundPlan& decode_plan() { return *decoders_.front().plan; }
    BoundPlan& prefill_plan() { return *prefill_.plan; }

  private:
    struct Bound {
        std::unique_ptr<BoundPlan> plan;
        std::vector<std::unique_ptr<Buffer>> own;  // step, tokens, logits
        Buffer* step = nullptr;
        Buffer* tokens = nullptr;
        Buffer* logits = nullptr;
    };
    void allocate_shared();
    Bound bind(const Plan& plan);
    Buffer* shared(const PlanBuffer& buffer);
    Bound& decode() { return decoders_.front(); }
    int64_t& reached(const SequenceState& sequence) {
        return reached_[static_cast<size_t>(sequence.slot)];
    }
    StateSnapshots& snapshots(const SequenceState& sequence) {
        return memory_.snapshots(sequence.slot);
    }

    // A sequence's rows of a step.
    struct Part {
        SequenceState* sequence = nullptr;
        int slot = -1;
        int64_t begin = 0, end = 0;
        int64_t from = 0;   // the sequence's `computed` before the step
        bool used = false;  // its output was asked for, or the sequence may be its owner's again
    };
    // The last step, while its results are in memory.
    struct LastStep {
        Bound* bound = nullptr;
        std::vector<Part> parts;
        int64_t wanted = 0;   // StepState::wanted on the device
        int64_t output = -1;  // the row whose output was made; -1: none yet
        bool has(int slot) const;
    };
    Bound& bound_of(SequenceState::Path path);
    // Finds the rows of the step that is due for these sequences, and uploads them.
    void begin_step(std::span<SequenceState* const> sequences);
    int rows_of_step() const { return static_cast<int>(last_.parts.back().end); }
    // A sequence's part of the last step; the output of its last row is made where it is missing.
    Part& make_output(const SequenceState& sequence);
    // Nothing of a slot's part is used any more.
    void forget_part(int slot);
    // As compute(), until `goes_on` answers false.
    using GoesOn = std::function<bool(const BoundPlan& plan, size_t step, int rows)>;
    void trace_step(SequenceState& sequence, const GoesOn& goes_on);
    // `computed` has grown to that; its state may be kept.
    void advance(SequenceState& sequence, int64_t computed);
    // Makes the slot hold what the sequence says, after cuts and draws that nobody took.
    void settle(SequenceState& sequence);
    // Appends what has landed for these sequences. Whether there was anything.
    bool take_landed(std::span<SequenceState* const> sequences);
    // Appends a draw. False where the logits were no numbers.
    bool take_draw(SequenceState& sequence, int32_t token);
    // Finds out where the context's logits ceased to be numbers, empties the sequence, and throws
    // NumberError. Others' parts of the last step whose output was not asked for are due again.
    [[noreturn]] void throw_number_error(SequenceState& sequence);

    const LoadedModel& model_;
    Device& device_;
    ContextMemory& memory_;
    PrefixReuse prefixes_;
    std::map<std::string, std::unique_ptr<Buffer>> shared_;  // scratch, counters, logits
    std::vector<Bound> decoders_;  // of decode_steps(), the first of one row
    Bound prefill_, each_, hidden_;
    std::unique_ptr<Draws> draws_;
    std::vector<int64_t> reached_;  // tokens of each slot's sequence that were computed and taken
    LastStep last_;
    std::vector<StepRow> step_rows_;  // scratch of begin_step()
    std::vector<int32_t> step_tokens_;
    int64_t prompt_rows_ = 0;
};

}  // namespace hetune
