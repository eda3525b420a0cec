// GPT-2's own pattern, and the one for files that name no pre-tokenizer: the same, with
// punctuation and groups of three digits cut out.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {

// Source: the encoder of GPT-2 (github.com/openai/gpt-2).
std::string gpt2_pattern() {
    return fmt::format(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{0}\p{{L}}\p{{N}}]+|)"
                       R"([{0}]+(?![^{0}])|[{0}]+)",
                       kSpace);
}

namespace {

const RegisterPreTokenizer gpt2{
    {.names = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "gigachat",
               "a.x-4.0", "mellum", "granite-docling"},
     .patterns = {gpt2_pattern()}}};

// Source: llama.cpp, whose files these are.
const RegisterPreTokenizer unnamed{{
    .names = {"default"},
    .patterns = {R"([\p{P}$+<=>^~|]+)", gpt2_pattern(), R"(\p{N}+)", "[0-9][0-9][0-9]"},
}};

}  // namespace
}  // namespace hetune
