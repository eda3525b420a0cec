// Falcon: punctuation first, then GPT-2's pattern, then digits in groups of three.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {
namespace {

// Source: tokenizer.json of Falcon.
const RegisterPreTokenizer falcon{
    {.names = {"falcon"}, .patterns = {R"([\p{P}$+<=>^~|`]+)", gpt2_pattern(), "[0-9][0-9][0-9]"}}};

}  // namespace
}  // namespace hetune
