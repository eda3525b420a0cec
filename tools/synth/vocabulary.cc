#include "tools/synth/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

namespace hetune {
namespace {

enum TokenType : int32_t { kNormal = 1, kControl = 3, kUnused = 5 };

// GPT-2's printable stand-in for each byte, in UTF-8.
std::vector<std::string> byte_tokens() {
    const auto printable = [](int byte) {
        return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    };
    std::vector<std::string> tokens;
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
        const int code = printable(byte) ? byte : next++;
        if (code < 128)
            tokens.push_back(std::string(1, static_cast<char>(code)));
        else
            tokens.push_back(
                {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))});
    }
    return tokens;
}

}  // namespace

void add_vocabulary(GgufOutput& file, int64_t size, const std::string& pre_tokenizer) {
    constexpr int64_t kSpecial = 3;
    std::vector<std::string> tokens = byte_tokens(), merges;
    for (char a = 'a'; a <= 'z'; ++a)
        for (char b = 'a'; b <= 'z'; ++b) {
            if (static_cast<int64_t>(tokens.size()) >= size - kSpecial) break;
            tokens.push_back({a, b});
            merges.push_back({a, ' ', b});
        }
    std::vector<int32_t> types(tokens.size(), kNormal);
    while (static_cast<int64_t>(tokens.size()) < size - kSpecial) {
        tokens.push_back(fmt::format("<|unused_{}|>", tokens.size()));
        types.push_back(kUnused);
    }
    for (const char* special : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
        tokens.push_back(special);
        types.push_back(kControl);
    }
    file.set("tokenizer.ggml.model", "gpt2");
    file.set("tokenizer.ggml.pre", pre_tokenizer);
    file.set("tokenizer.ggml.tokens", tokens);
    file.set("tokenizer.ggml.token_type", types);
    file.set("tokenizer.ggml.merges", merges);
    file.set("tokenizer.ggml.bos_token_id", size - 3);
    file.set("tokenizer.ggml.eos_token_id", size - 1);
    file.set("tokenizer.ggml.padding_token_id", size - 3);
    file.set("tokenizer.ggml.add_bos_token", false);
}

}  // namespace hetune
