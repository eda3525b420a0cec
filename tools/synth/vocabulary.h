// A vocabulary of any size that encodes every text.
#pragma once

#include <string>

#include "planner/file/gguf_output.h"

namespace hetune {

// Sets tokenizer.ggml.*: 256 bytes, merged pairs of small letters, unused tokens, and at the end
// <|endoftext|>, <|im_start|>, <|im_end|>. `size` is at least 260.
void add_vocabulary(GgufOutput& file, int64_t size, const std::string& pre_tokenizer);

}  // namespace hetune
