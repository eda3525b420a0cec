// Bloom and models with its tokenizer (Poro, Viking): what lies between spaces and sentence marks.
#include <fmt/format.h>

#include "runtime/text/pre_tokenizer.h"

namespace hetune {
namespace {

// Source: tokenizer.json of Bloom.
std::string bloom_pattern() {
    return fmt::format(
        R"( ?[^({0}|.,!?\x{{2026}}\x{{3002}}\x{{ff0c}}\x{{3001}}\x{{964}}\x{{6d4}}\x{{60c}})]+)",
        kSpace);
}

const RegisterPreTokenizer bloom{
    {.names = {"bloom", "poro-chat", "gpt3-finnish"}, .patterns = {bloom_pattern()}}};
const RegisterPreTokenizer viking{{.names = {"viking"}, .patterns = {bloom_pattern(), R"(\p{N})"}}};

}  // namespace
}  // namespace hetune
