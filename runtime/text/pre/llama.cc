// Llama 3 and its kin: digits in groups of up to three, contractions in any case.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {
namespace {

// Source: tokenizer.json of Llama 3.
std::string llama_pattern() {
    return fmt::format(R"({1}|)"
                       R"([^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|)"
                       R"( ?[^{0}\p{{L}}\p{{N}}]+[\r\n]*|)"
                       R"([{0}]*[\r\n]+|[{0}]+(?![^{0}])|[{0}]+)",
                       kSpace, kContraction);
}

const RegisterPreTokenizer llama{{.names = {"llama-bpe", "llama3", "llama-v3", "falcon3",
                                            "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
                                  .patterns = {llama_pattern()},
                                  .whole_words_first = true,
                                  .adds_bos = true}};

// The same words, merged from their parts.
const RegisterPreTokenizer merged{
    {.names = {"smaug-bpe", "dbrx", "glm4", "chatglm-bpe"}, .patterns = {llama_pattern()}}};

}  // namespace
}  // namespace hetune
