// The tokenizer of a model file: lists of tokens, scores, types and merges, ids with a meaning, and
// a text that such a tokenizer encodes.
#include "runtime/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/gguf_writer.h"

namespace hetune::fuzz {
namespace {

// Lines of an input: kind and flags, tokens, merges, then text. A token's first byte is its type,
// its second its score.
void run(std::string_view bytes) {
    Input input(bytes);
    const unsigned flags = input.byte();
    const auto eos = static_cast<uint32_t>(input.byte());
    GgufWriter writer;
    writer.set("general.architecture", "llama");
    writer.set("tokenizer.ggml.model", flags & 1 ? "gpt2" : "llama");
    if (flags & 2) writer.set("tokenizer.ggml.pre", std::string(input.until('\n')));
    writer.set("tokenizer.ggml.eos_token_id", eos);
    if (flags & 4) writer.set("tokenizer.ggml.add_bos_token", true);
    if (flags & 8) writer.set("tokenizer.ggml.bos_token_id", eos / 2);
    std::vector<std::string> tokens, merges;
    std::vector<int32_t> types;
    std::vector<float> scores;
    for (Input list(input.until('\0')); !list.empty();) {
        Input token(list.until('\n'));
        types.push_back(static_cast<int32_t>(token.byte() - '0'));
        scores.push_back(static_cast<float>(token.byte()) - 64);
        tokens.emplace_back(token.rest());
    }
    for (Input list(input.until('\0')); !list.empty();) merges.emplace_back(list.until('\n'));
    writer.set("tokenizer.ggml.tokens", tokens);
    if (flags & 16) writer.set("tokenizer.ggml.token_type", types);
    if (flags & 32) writer.set("tokenizer.ggml.scores", scores);
    if (flags & 64) writer.set("tokenizer.ggml.merges", merges);
    const std::string header = writer.header();
    may_throw<ModelError>([&] {
        const auto view = bytes_of(header);
        const ModelFile file("fuzz.gguf", {view.begin(), view.end()});
        const Tokenizer tokenizer(file);
        const std::string_view text = input.rest();
        for (const bool special : {false, true}) {
            const auto ids = tokenizer.encode(text, special, special);
            for (const int32_t id : ids)
                require(id >= 0 && id < tokenizer.vocabulary_size(),
                        "an id outside of the vocabulary");
            tokenizer.decode(ids, special);
        }
    });
}

std::vector<std::string> seeds() {
    std::string bytes;
    for (int i = 0; i < 256; ++i)
        bytes +=
            "6@<0x" + std::string{"0123456789ABCDEF"[i / 16], "0123456789ABCDEF"[i % 16]} + ">\n";
    return {std::string("\x71\x02", 2) + "1@a\n1@b\n3@<eos>\n1@ab\n1@\xC4\xA0" + '\0' + "a b\n" +
                '\0' + "abba <eos>",
            std::string("\x73\x02", 2) + "qwen2\n1@a\n1@b\n3@<eos>\n1@ab" + '\0' + "a b" + '\0' +
                "ab 12\r\n  ab's",
            std::string("\x74\x02", 2) +
                "2@<unk>\n3@<s>\n3@</s>\n1A\xE2\x96\x81\n1Aa\n1B\xE2\x96\x81" + "a\n" + bytes +
                '\0' + '\0' + "a a\xFF\xC3"};
}

const RegisterTarget kTarget({"vocabulary", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
