// Mistral's Tekken and OpenAI's o200k: a change from small to capital letters begins a word.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {
namespace {

// A word is capital letters, then small ones; letters without case and marks (vowel signs, accents)
// are both. llama.cpp, whose own engine lacks these classes, cuts a word before each mark; here the
// patterns are those that the models were trained with. `contraction` may follow a word.
std::string cased_pattern(std::string_view contraction, std::string_view digits) {
    constexpr std::string_view kCapital = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])";
    constexpr std::string_view kSmall = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])";
    return fmt::format(R"([^\r\n\p{{L}}\p{{N}}]?{3}*{4}+{1}|)"
                       R"([^\r\n\p{{L}}\p{{N}}]?{3}+{4}*{1}|)"
                       R"({2}| ?[^{0}\p{{L}}\p{{N}}]+[\r\n/]*|)"
                       R"([{0}]*[\r\n]+|[{0}]+(?![^{0}])|[{0}]+)",
                       kSpace, contraction, digits, kCapital, kSmall);
}

// Source: tekken.json of Mistral Nemo.
const RegisterPreTokenizer tekken{{.names = {"tekken"},
                                   .patterns = {cased_pattern("", R"(\p{N})")},
                                   .whole_words_first = true,
                                   .adds_bos = true}};

// Source: o200k_base of tiktoken.
const RegisterPreTokenizer o200k{
    {.names = {"gpt-4o", "llama4", "kanana2"},
     .patterns = {cased_pattern(fmt::format("{}?", kContraction), R"(\p{N}{1,3})")}}};

}  // namespace
}  // namespace hetune
