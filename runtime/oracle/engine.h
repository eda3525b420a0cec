// Something that turns tokens into logits and into further tokens: the oracle, or the compiled
// model on a device. The engine alone knows which tokens its context holds.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "planner/file/errors.h"
#include "runtime/load/sampling.h"

namespace hetune {

// DrawLimit::cancelled has answered true. The tokens that ran before stay in the context.
class Cancelled : public std::runtime_error {
  public:
    Cancelled() : std::runtime_error("the prompt was cancelled") {}
};

class Engine {
  public:
    virtual ~Engine() = default;

    // Appends tokens to the context; a token drawn last comes first. Gives logits [rows,
    // vocabulary] of every token, or only of the last one. Throws ContextError when the context
    // is full, std::runtime_error when a token is no token, and NumberError when a logit is none.
    // After a NumberError the context is empty; after the others it is as it was.
    virtual std::vector<float> forward(std::span<const int32_t> tokens, bool every_row) = 0;

    // Generation. `prompt` appends tokens to the context and draws the next token; `next` appends
    // the drawn token and draws another. Where a prompt follows drawn tokens, the last of them is
    // appended first. Both throw what forward() throws; `prompt` also OptionError and Cancelled.
    virtual int32_t prompt(std::span<const int32_t> tokens, const Sampling& sampling,
                           const DrawLimit& limit) = 0;
    virtual int32_t next() = 0;

    // The tokens of the context, and behind them the one drawn last.
    virtual std::span<const int32_t> tokens() const = 0;
    virtual void reset() = 0;
    // Cuts tokens() back to its first `count`, as if no more had come. Throws std::runtime_error
    // when it has fewer.
    virtual void truncate(int64_t count) = 0;
    // How many of tokens() have run. The token drawn last has not.
    virtual int64_t position() const = 0;
    virtual int64_t vocabulary() const = 0;
    virtual int64_t context() const = 0;  // capacity in tokens
};

// Throws ContextError unless `more` tokens fit behind `used` of a context, and std::runtime_error
// for the first of them that is outside of the vocabulary.
void check_fits(std::span<const int32_t> more, int64_t used, int64_t context, int64_t vocabulary);
// Throws ContextError for a token that is to be drawn.
[[noreturn]] void throw_context_full(int64_t context);

}  // namespace hetune
