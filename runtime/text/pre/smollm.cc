// Every digit a word of its own, then GPT-2's pattern: SmolLM, StarCoder and others.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {
namespace {

// Source: tokenizer.json of SmolLM (a pre-tokenizer "Digits", then "ByteLevel").
const RegisterPreTokenizer smollm{
    {.names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
     .patterns = {R"(\p{N})", gpt2_pattern()}}};

}  // namespace
}  // namespace hetune
