// Tokens to text while they arrive: what is given out is always valid UTF-8.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/text/tokenizer.h"

namespace hetune {

// For one stream and one thread. `tokenizer` must outlive it.
class StreamDecoder {
  public:
    explicit StreamDecoder(const Tokenizer& tokenizer, bool special = false)
        : tokenizer_(tokenizer), special_(special) {}

    // The text that this token completes; empty while a character is in parts. Bytes that can
    // become no character are given as U+FFFD as soon as that is certain.
    std::string feed(int32_t id);
    // At the end of the stream: U+FFFD when a character was left in parts, otherwise nothing.
    std::string flush();

  private:
    const Tokenizer& tokenizer_;
    bool special_;
    std::string pending_;  // an incomplete sequence, at most 3 bytes between calls
};

}  // namespace hetune
