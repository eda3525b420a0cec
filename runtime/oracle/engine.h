// An engine computes sequences step by step: the compiled model on a device (engine/stepper.h), or
// the oracle. One thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "planner/file/errors.h"
#include "runtime/load/sampling.h"
#include "runtime/oracle/sequence_state.h"

namespace hetune {

class Engine {
  public:
    virtual ~Engine() = default;

    virtual int64_t vocabulary() const = 0;
    virtual int64_t context() const = 0;  // capacity of a slot, in tokens

    // Sequences that one draw() may draw for.
    virtual int64_t most_drawn() const { return 1; }

    // The sequence gets memory for `tokens` tokens, unless it has it. False where too little is
    // free; it has none then. A sequence without memory may take over its first tokens, `most` of
    // them at most, from another that began with the same: `computed` says how many, and its
    // stretches begin as those of the other. One token at least is left to compute.
    virtual bool take_slot(SequenceState& sequence, int64_t tokens, int64_t most) = 0;
    // Brings to memory some of what take_slot() could take over if it were not in files alone, no
    // more than takes about as long as a step. False: there is nothing more to bring.
    virtual bool read_prefix(const SequenceState&, int64_t /*most*/) { return false; }
    // Writes some of what sequences may take over to files. False: nothing is left to write.
    virtual bool write_prefix() { return false; }
    // The memory is free for others. take_slot() sets `computed`; this call leaves it alone, since
    // the owner of an idle sequence may be cutting it.
    virtual void give_back(SequenceState& sequence) = 0;
    // Leaves the computed tokens of a sequence with a slot for others to take over, as long as
    // their memory is not needed.
    virtual void keep_prefix(SequenceState&) {}
    // Another sequence has the same first `tokens` as this one, which has a slot. The position, not
    // computed yet, from which the other may go on once keep_prefix() was called there; 0: none
    // that is worth to wait for.
    virtual int64_t expect_parting(SequenceState&, int64_t /*tokens*/) { return 0; }

    // The functions below take sequences with slots. Where its tokens were cut since they were
    // computed, a recurrent state goes back to a copy, and `computed` with it. All throw
    // NumberError where a logit is NaN or infinite, which leaves the sequence empty, and
    // DeviceError.

    // One step for tokens behind `computed`, of which each sequence has one or more, within a
    // stretch. The step is the first sequence's; as far as there is room and the same kernels
    // compute them, tokens of later sequences are in it, too. `computed` tells. A NumberError of
    // one of them takes `computed` back for those whose output nobody has asked for.
    virtual void compute(std::span<SequenceState* const> sequences) = 0;
    void compute(SequenceState& sequence) {
        SequenceState* const one = &sequence;
        compute(std::span(&one, 1));
    }
    // Appends what a sequence's part of the last step left, before a token is drawn from it: logits
    // [rows, vocabulary] of its tokens on Path::kEachLogits, hidden states [rows, hidden] on
    // Path::kEachHidden, or logits [vocabulary] of its last token. No token can be drawn behind
    // hidden states.
    virtual void read_output(SequenceState& sequence, std::vector<float>& to) = 0;

    // To be called whenever others may have used the engine, or the sequence was changed. With
    // `draws` the last step of a computed sequence becomes due again where its logits are gone.
    virtual void prepare(SequenceState& sequence, bool draws) = 0;
    // Draws the token behind those of a sequence, all of which are computed, and appends it. Other
    // sequences of the last step keep their outputs.
    // `limit` lets the engine run ahead; it stops by itself behind an end token and the last draw.
    // Without draws the engine does what it is asked to, and no more.
    virtual int32_t draw_first(SequenceState& sequence, const Sampling& sampling,
                               const DrawLimit& limit) = 0;
    // The next tokens of sequences that draw_first() was called for, at most most_drawn() of them,
    // in one step each: they are appended, one or more of each as they come from the device
    // together. A sequence that was not among those of the call before may get none yet; one whose
    // logits are no numbers gets none, which check_draw() tells. All have memory for one token
    // more than is computed.
    virtual void draw(std::span<SequenceState* const> sequences) = 0;
    // Throws NumberError where the last draw() found that the sequence's logits are no numbers.
    virtual void check_draw(SequenceState& sequence) = 0;

    // Processor time of this thread that went into waiting for draws, since the start.
    virtual double waited_seconds() const { return 0; }
};

// Throws ContextError unless `more` tokens fit behind `used` of a context, and RequestError for the
// first of them that is outside of the vocabulary.
void check_fits(std::span<const int32_t> more, int64_t used, int64_t context, int64_t vocabulary);
// Throws ContextError for a token that is to be drawn.
[[noreturn]] void throw_context_full(int64_t context);

// The next tokens of one sequence, one or more. Throws ContextError where the context is full, and
// what check_draw() throws. Valid until the sequence changes.
std::span<const int32_t> draw_some(Engine& engine, SequenceState& sequence);
// Computes all tokens of a sequence that has a slot.
void compute_all(Engine& engine, SequenceState& sequence);
// Appends tokens and gives what read_output() says of all of them, or of the last one. Throws what
// check_fits() and compute() throw.
std::vector<float> append_for_output(Engine& engine, SequenceState& sequence,
                                     std::span<const int32_t> tokens, SequenceState::Path path);

}  // namespace hetune
