// DeepSeek's tokenizers. Its models distilled into Qwen and Llama keep those families' own.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {
namespace {

// Letters that have case, in the scripts that tokenizer.json of DeepSeek LLM lists one by one: all
// of them but Armenian and Georgian small letters, newer Latin and Cyrillic, and mathematical ones.
constexpr std::string_view kCased =
    R"((?:(?![\x{560}-\x{588}\x{10c7}\x{10cd}\x{10d0}-\x{10ff}\x{1c80}-\x{1c88}\x{2d00}-\x{2d2d})"
    R"(\x{a790}-\x{a7fa}\x{ab30}-\x{ab68}\x{10570}-\x{105bc})"
    R"(\x{16e40}-\x{16e7f}\x{1d400}-\x{1df1e}])\p{L&})++)";

// CJK ideographs, Hangul and what lies before them. The ranges of the file hold spaces too
// (U+3000), which llama.cpp takes for spaces.
std::string ideographs() {
    return fmt::format(R"((?:(?![{}])[\x{{800}}-\x{{9fa5}}\x{{ac00}}-\x{{d7ff}}])++)", kSpace);
}

// Source: tokenizer.json of DeepSeek LLM.
const RegisterPreTokenizer llm{
    {.names = {"deepseek-llm"},
     .patterns = {R"([\r\n])", fmt::format("[{}]?{}", kSpace, kCased),
                  fmt::format(R"([{}]?[!-/:-~\x{{ff01}}-\x{{ff0f}}\x{{ff1a}}-\x{{ff5e}})"
                              R"(\x{{2018}}-\x{{201f}}\x{{3001}}\x{{3002}}]+)",
                              kSpace),
                  fmt::format(R"((?<![{0}])[{0}]+\z)", kSpace), ideographs(), R"(\p{N}+)"}}};

// Source: tokenizer.json of DeepSeek Coder.
const RegisterPreTokenizer coder{
    {.names = {"deepseek-coder"},
     .patterns = {R"([\r\n])", fmt::format(R"([{}]?\p{{L}}+)", kSpace),
                  fmt::format(R"([{}]?\p{{P}}+)", kSpace), ideographs(), R"(\p{N})"}}};

// Source: tokenizer.json of DeepSeek V3.
const RegisterPreTokenizer v3{
    {.names = {"deepseek-v3", "hunyuan-dense"},
     .patterns = {
         R"(\p{N}{1,3})", R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)",
         fmt::format(R"([!-/:-@\[-`{{-~][A-Za-z]+|)"
                     R"([^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|)"
                     R"([{0}]*[\r\n]+|[{0}]+(?![^{0}])|[{0}]+)",
                     kSpace)}}};

}  // namespace
}  // namespace hetune
