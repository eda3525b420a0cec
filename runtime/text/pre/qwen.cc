// Qwen: every digit a word of its own. From Qwen3.5 on combining marks belong to the letters.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {
namespace {

// `letter` and `other` are classes. Source: tokenizer.json of Qwen2 and Qwen3.5.
std::string qwen_pattern(std::string_view letter, std::string_view not_other) {
    return fmt::format(R"({3}|)"
                       R"([^\r\n\p{{L}}\p{{N}}]?{1}+|\p{{N}}|)"
                       R"( ?[^{0}{2}]+[\r\n]*|)"
                       R"([{0}]*[\r\n]+|[{0}]+(?![^{0}])|[{0}]+)",
                       kSpace, letter, not_other, kContraction);
}

const RegisterPreTokenizer qwen2{
    {.names = {"qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2", "stablelm2", "hunyuan",
               "solar-open", "grok-2"},
     .patterns = {qwen_pattern(R"(\p{L})", R"(\p{L}\p{N})")}}};

const RegisterPreTokenizer qwen35{
    {.names = {"qwen35"}, .patterns = {qwen_pattern(R"([\p{L}\p{M}])", R"(\p{L}\p{M}\p{N})")}}};

}  // namespace
}  // namespace hetune
