// ByteDance's Seed Coder: as Qwen, but line ends are never part of punctuation.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {
namespace {

// Source: tokenizer.json of Seed Coder.
const RegisterPreTokenizer seed_coder{
    {.names = {"seed-coder"},
     .patterns = {fmt::format(R"({1}|)"
                              R"([^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|)"
                              R"( ?[^{0}\p{{L}}\p{{N}}\r\n]+|)"
                              R"([{0}]*[\r\n]+|[{0}]+(?![^{0}])|[{0}]+)",
                              kSpace, kContraction)}}};

}  // namespace
}  // namespace hetune
