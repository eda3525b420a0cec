// Something that turns tokens into logits: the oracle, or the compiled model on a device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model_file.h"

namespace hetune {

class Engine {
  public:
    virtual ~Engine() = default;

    // Appends tokens to the context. Gives logits [rows, vocabulary] of every token, or only of the
    // last one. Throws std::runtime_error when the context is full or a token is no token.
    virtual std::vector<float> forward(std::span<const int32_t> tokens, bool every_row) = 0;
    virtual void reset() = 0;
    // Cuts the context back to its first `position` tokens, as if no more had come. Throws
    // std::runtime_error when it has fewer.
    virtual void truncate(int64_t position) = 0;
    virtual int64_t position() const = 0;
    virtual int64_t vocabulary() const = 0;
    virtual int64_t context() const = 0;  // capacity in tokens
};

}  // namespace hetune
