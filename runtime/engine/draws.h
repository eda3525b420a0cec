// Tokens drawn on the device, which runs ahead of the host by a few launches or a burst of tokens:
// for one sequence, or for several in the same steps. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/engine/context_memory.h"
#include "runtime/engine/loaded_model.h"
#include "runtime/load/bound_plan.h"
#include "runtime/load/sampling.h"
#include "runtime/oracle/sequence_state.h"

namespace hetune {

class Draws {
  public:
    // A plan of decode_steps(), bound. `rows` of its sequences are in a step.
    struct Decoder {
        BoundPlan& plan;
        const Plan& sampler;
    };
    // In order of their rows, the first of one. Plans, model and memory outlive this.
    Draws(const LoadedModel& model, const ContextMemory& memory, std::span<const Decoder> decoders);

    // Sequences that a step may draw for.
    int64_t most_rows() const { return decoders_.back().rows; }

    // Draws from the first row of logits that are there, behind a sequence's tokens, which are all
    // computed. Waits for the draw: its token, or kNothingDrawn. From now on the sequence may be
    // among the rows. With DrawLimit::draws the device may run ahead.
    int32_t first(const SequenceState& sequence, const Sampling& sampling, const DrawLimit& limit);

    // Whether these sequences, in this order, are the rows of what is launched next.
    bool has_rows(std::span<SequenceState* const> sequences) const;
    // Makes them so, each with the token that was drawn last. Nothing is in flight.
    void set_rows(std::span<SequenceState* const> sequences);
    // The rows are to be set anew before anything is launched: another step used their memory.
    void forget_rows() { stale_ = true; }

    // Launches one more at least, and what may be in flight beyond, at most `most` tokens of each
    // row altogether.
    void launch_ahead(int64_t most);
    bool in_flight() const { return first_flight_ != next_flight_; }
    // Tokens of a slot's sequence that are launched and not taken.
    int64_t in_flight(int slot) const;
    // Sleeps until the oldest launch is done. take() gives what it drew.
    void land();
    // A sequence's next token that has landed: kNothingDrawn where its logits are no numbers,
    // kNoneLeft where nothing more of it has landed.
    int32_t take(const SequenceState& sequence);
    static constexpr int32_t kNoneLeft = -2;
    // Draws in flight for a slot are not taken any more.
    void drop(int slot);

    double waited_seconds() const { return waited_seconds_; }

  private:
    struct Bound {
        BoundPlan* decode;
        std::unique_ptr<BoundPlan> sampler;
        int64_t rows;
        std::unique_ptr<Graph> token;  // decode and draw
    };
    // The host's knowledge of the draws of a slot's sequence.
    struct Slot {
        std::vector<int32_t> ends;  // of the generation
        int32_t drawn = 0;          // draws taken, by the device's count
        int64_t left = 0;           // until the device stops by itself
        int64_t ahead = 0;          // draws that may still be launched unasked
        bool live = false;          // a row of it may draw
    };
    // Launched together, with a mark behind the last.
    struct Flight {
        std::unique_ptr<Mark> mark;
        int64_t draws = 0;       // of each row
        std::vector<int> slots;  // of its rows; -1: dropped
    };
    std::unique_ptr<BoundPlan> bind_sampler(const LoadedKernels& kernels, const Plan& sampler,
                                            BoundPlan& decode);
    void wait(Mark& mark);
    void record_steps(Bound& bound, int64_t steps);
    void capture_burst();
    // Tokens of the longest burst of at most `most`.
    int64_t longest_burst(int64_t most);
    // A graph of so many tokens and their draws, behind what is in flight: one, or a burst.
    void launch_steps(int64_t steps);
    int32_t read_ring(int slot);
    Slot& slot_of(const SequenceState& sequence) {
        return slots_[static_cast<size_t>(sequence.slot)];
    }

    Device& device_;
    const double burst_seconds_;
    const SlotStrides strides_;
    std::unique_ptr<Buffer> states_;  // the samplers', of each slot
    std::unique_ptr<Buffer> loop_;    // where the plan has one
    HostMemory ring_;                 // of drawn tokens, of each slot
    std::vector<Bound> decoders_;
    std::unique_ptr<Buffer> first_step_, first_token_;
    std::unique_ptr<BoundPlan> first_sampler_;

    std::vector<Slot> slots_;
    Bound* current_ = nullptr;        // that holds the rows
    std::vector<int> rows_;           // their slots
    bool stale_ = true;               // rows_ are not on the device
    std::vector<StepRow> step_rows_;  // scratch of set_rows()
    std::vector<int32_t> tokens_;     // likewise
    std::vector<Flight> flights_;     // used in turn
    std::unique_ptr<Mark> first_mark_;
    size_t first_flight_ = 0, next_flight_ = 0;
    std::vector<int64_t> landed_;   // tokens of each slot that have landed and are not taken
    std::unique_ptr<Graph> burst_;  // of steps of one row
    bool loops_ = false;            // burst_ is a loop
    int64_t rounds_ = 0;            // that it takes
    double token_seconds_ = 1;      // that the last draws took, each
    std::chrono::steady_clock::time_point last_landing_;
    double waited_seconds_ = 0;
};

}  // namespace hetune
