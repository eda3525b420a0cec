// Any bytes as text, by a real vocabulary and each pre-tokenizer: decoding gives the bytes back.
#include <memory>

#include "runtime/text/pre_tokenizer.h"
#include "runtime/text/stream_decoder.h"
#include "runtime/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

const std::vector<std::unique_ptr<Tokenizer>>& tokenizers() {
    static const auto list = [] {
        const ModelFile file(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf");
        std::vector<std::unique_ptr<Tokenizer>> all;
        for (const std::string& name : pre_tokenizer_names())
            all.push_back(std::make_unique<Tokenizer>(file, name));
        return all;
    }();
    return list;
}

void run(std::string_view bytes) {
    Input input(bytes);
    const Tokenizer& tokenizer = *tokenizers()[input.byte() % tokenizers().size()];
    const std::string text(input.rest());
    const std::vector<int32_t> ids = tokenizer.encode(text, false, false);
    require(tokenizer.decode(ids) == text, "decoding gives another text");
    require(ids.size() <= text.size(), "more tokens than bytes");
    tokenizer.decode(tokenizer.encode(text, true, true), true);
}

std::vector<std::string> seeds() {
    std::vector<std::string> list;
    for (char pre = 0; pre < static_cast<char>(tokenizers().size()); ++pre)
        list.push_back(
            pre + std::string("Hello, world's 12345 \r\n\t  x+=1;\n\nGr\xC3\xBC\xC3\x9F"
                              "e "
                              "\xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x98\x80 e\xCC\x81 <|im_end|>"));
    return list;
}

const RegisterTarget kTarget({"encode", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
