// Mistral's Tekken and OpenAI's o200k: a change from small to capital letters begins a word.
#include <fmt/format.h>

#include "runtime/tokenizer/pre_tokenizer.h"

namespace hetune {
namespace {

// Letters count as capital or small where they are not ASCII of the other kind, as in llama.cpp:
// tokenizer.json of both models has Unicode's classes. `contraction` may follow a word.
std::string cased_pattern(std::string_view contraction, std::string_view digits) {
    return fmt::format(R"([^\r\n\p{{L}}\p{{N}}]?(?:(?![a-z])\p{{L}})*(?:(?![A-Z])\p{{L}})+{1}|)"
                       R"([^\r\n\p{{L}}\p{{N}}]?(?:(?![a-z])\p{{L}})+(?:(?![A-Z])\p{{L}})*{1}|)"
                       R"({2}| ?[^{0}\p{{L}}\p{{N}}]+[\r\n/]*|)"
                       R"([{0}]*[\r\n]+|[{0}]+(?![^{0}])|[{0}]+)",
                       kSpace, contraction, digits);
}

// Source: tekken.json of Mistral Nemo.
const RegisterPreTokenizer tekken{{.names = {"tekken"},
                                   .patterns = {cased_pattern("", R"(\p{N})")},
                                   .whole_words_first = true,
                                   .adds_bos = true}};

// Source: o200k_base of tiktoken.
const RegisterPreTokenizer o200k{
    {.names = {"gpt-4o", "llama4", "kanana2"},
     .patterns = {
         cased_pattern("(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?", R"(\p{N}{1,3})")}}};

}  // namespace
}  // namespace hetune
