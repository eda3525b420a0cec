// Which of its tokens a sequence takes over of others, and leaves to others: the rules of
// LoadOptions::prefixes, over the prefixes that ContextMemory keeps. One thread at a time.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/engine/context_memory.h"
#include "runtime/engine/loaded_model.h"
#include "runtime/oracle/sequence_state.h"

namespace hetune {

class PrefixReuse {
  public:
    // The memory outlives this.
    PrefixReuse(const LoadedModel& model, ContextMemory& memory);

    // A slot without pages gets what is kept of the sequence's first `most` tokens, one of which at
    // least is left to compute. `computed` and the first stretches are then those of the prefix.
    void take(SequenceState& sequence, int slot, int64_t most);
    // Brings some of what take() would get if it were not in files alone. False: nothing more.
    bool read(const SequenceState& sequence, int64_t most);
    // Keeps what is computed of a sequence with a slot; `holds_state`: its recurrent state is that
    // behind the computed tokens.
    void keep(const SequenceState& sequence, bool holds_state);
    // Other sequences go on from about the first `tokens` of this one: a step of its prompt will
    // end there, so that a recurrent state can be kept. Gives the position, or 0 where others gain
    // too little by it.
    int64_t divide(SequenceState& sequence, int64_t tokens) const;

  private:
    // The first tokens that take() may take over.
    std::span<const int32_t> wanted(const SequenceState& sequence, int64_t most) const;
    // How many of the first tokens may be taken over, by how they are made in this sequence.
    int64_t reusable(const SequenceState& sequence) const;
    bool exact() const { return which_ == Prefixes::kExact; }

    ContextMemory& memory_;
    const Prefixes which_;
    // Where a prompt's steps may be divided, and what a recurrent state is then is the same bit for
    // bit: at multiples of so many tokens from the start of the sequence.
    int64_t unit_ = 1;
};

}  // namespace hetune
