#include "runtime/text/tokenizer.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/text/pre_tokenizer.h"
#include "runtime/text/stream_decoder.h"
#include "runtime/text/utf8.h"
#include "tests/gguf_writer.h"

namespace hetune {
namespace {

using Ids = std::vector<int32_t>;
using Words = std::vector<std::string>;

const Tokenizer& tiny() {
    static const Tokenizer tokenizer(ModelFile(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf"));
    return tokenizer;
}

Tokenizer tokenizer_of(const GgufWriter& writer) {
    const auto path = std::filesystem::temp_directory_path() /
                      ("hetune-tokenizer-" + std::to_string(::getpid()) + ".gguf");
    writer.write(path);
    const ModelFile file(path);
    std::filesystem::remove(path);
    return Tokenizer(file);
}

std::string error_of(const GgufWriter& writer) {
    try {
        tokenizer_of(writer);
    } catch (const ModelError& error) {
        return error.what();
    }
    return "no error";
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

// The tiny model's vocabulary under another pre-tokenizer.
GgufWriter tiny_as(const std::string& pre) {
    const ModelFile file(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf");
    const auto strings = [&](const char* key) {
        std::vector<std::string> list;
        for (const MetaValue& value : *file.find_array(key))
            list.push_back(std::get<std::string>(value.value));
        return list;
    };
    std::vector<int32_t> types(4096, 1);
    types[4093] = types[4094] = types[4095] = 3;
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", pre)
        .set("tokenizer.ggml.tokens", strings("tokenizer.ggml.tokens"))
        .set("tokenizer.ggml.merges", strings("tokenizer.ggml.merges"))
        .set("tokenizer.ggml.token_type", types)
        .set("tokenizer.ggml.bos_token_id", 4093u);
    return writer;
}

// "<unk> <s> </s>", the 256 bytes, then what merges.
GgufWriter sentence_piece() {
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
    std::vector<int32_t> types = {2, 3, 3};
    std::vector<float> scores = {0, 0, 0};
    const char* hex = "0123456789ABCDEF";
    for (int b = 0; b < 256; ++b) {
        tokens.push_back(std::string("<0x") + hex[b / 16] + hex[b % 16] + ">");
        types.push_back(6);
        scores.push_back(0);
    }
    const std::vector<std::pair<std::string, float>> pieces = {
        {"▁", -9},  {"h", -9},  {"e", -9},   {"l", -9},     {"o", -9},        {"▁h", -3},
        {"he", -1}, {"ll", -2}, {"llo", -4}, {"hello", -6}, {"▁hello", -5.5}, {"é", -7},
    };
    for (const auto& [text, score] : pieces) {
        tokens.push_back(text);
        types.push_back(1);
        scores.push_back(score);
    }
    tokens.push_back("[INST]");
    types.push_back(4);
    scores.push_back(0);
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", tokens)
        .set("tokenizer.ggml.token_type", types)
        .set("tokenizer.ggml.scores", scores);
    return writer;
}
constexpr int32_t kByte0 = 3;
constexpr int32_t kMark = 259, kH = 260, kE = 261, kHe = 265, kHello = 268, kMarkHello = 269,
                  kAcute = 270, kInst = 271;

Words split(const char* pre, std::string_view text) {
    Words words;
    for (std::string_view word : WordSplitter(*find_pre_tokenizer(pre)).split(text))
        words.emplace_back(word);
    return words;
}

}  // namespace

TEST_CASE("Tokenizer gives llama.cpp's ids for awkward strings") {
    std::ifstream file(HETUNE_TEST_MODELS "/tokenizer_cases.json");
    const auto cases = nlohmann::json::parse(file);
    REQUIRE(cases.size() == 50);
    for (const auto& item : cases) {
        const std::string text = item["text"];
        CAPTURE(text);
        CHECK(tiny().encode(text, false, false) == item["ids"].get<Ids>());
        const Ids ids = tiny().encode(text, false, true);
        CHECK(ids == item["ids_special"].get<Ids>());
        CHECK(tiny().decode(ids, true) == text);
    }
}

TEST_CASE("Tokenizer knows the special ids of its file") {
    CHECK(tiny().vocabulary_size() == 4096);
    CHECK(tiny().bos() == 4093);
    CHECK(tiny().eos() == 4093);
    CHECK(tiny().eot() == 4095);
    CHECK_FALSE(tiny().adds_bos());
    CHECK(tiny().ends_generation(4093));
    CHECK(tiny().ends_generation(4095));
    CHECK_FALSE(tiny().ends_generation(4094));
    CHECK_FALSE(tiny().ends_generation(-1));
    CHECK(tiny().piece(4095) == "");
    CHECK(tiny().piece(4095, true) == "<|im_end|>");
    CHECK_THROWS_WITH(tiny().piece(4096), "token 4096 is outside the vocabulary of 4096");
    CHECK_THROWS_AS(tiny().piece(-1), std::runtime_error);
}

TEST_CASE("Random bytes survive encode and decode") {
    std::mt19937 random(7);
    for (int round = 0; round < 400; ++round) {
        std::string text(random() % 64, '\0');
        // Half of the rounds are mostly ASCII, so that merges and specials get their share.
        for (char& c : text)
            c = static_cast<char>(round % 2 == 0 ? random()
                                                 : "<|im_end|> ae\xC3\xA9"[random() % 16]);
        CAPTURE(round);
        CHECK(tiny().decode(tiny().encode(text, true, round % 3 == 0), true) == text);
    }
}

TEST_CASE("Long texts take time in proportion, whatever they repeat") {
    // 1 MB each; a merge loop of quadratic cost would run for minutes.
    for (std::string_view unit : {"a", " ", "\n", "\xF0\x9F\x98\x80", "\xFF", "<|im_", "the fn "}) {
        std::string text;
        while (text.size() < 1'000'000) text += unit;
        CAPTURE(unit);
        CHECK(tiny().decode(tiny().encode(text, false, true), true) == text);
    }
}

// Texts beyond 4096 bytes are merged with another queue than short ones.
TEST_CASE("A long word is merged as a plain scan for the lowest rank merges it") {
    const ModelFile file(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf");
    std::map<std::pair<std::string, std::string>, int> ranks;
    for (const MetaValue& merge : *file.find_array("tokenizer.ggml.merges")) {
        const auto& text = std::get<std::string>(merge.value);
        const size_t space = text.find(' ');
        ranks.try_emplace({text.substr(0, space), text.substr(space + 1)},
                          static_cast<int>(ranks.size()));
    }
    std::mt19937 random(5);
    for (const std::string letters : {"e", "ab", "etaoinshr"}) {
        CAPTURE(letters);
        std::string text(4500, 'e');
        for (char& c : text) c = letters[random() % letters.size()];
        std::vector<std::string> parts;
        for (const char c : text) parts.emplace_back(1, c);
        std::vector<int> rank;  // of each part and the next; -1: they do not merge
        const auto rank_at = [&](size_t i) {
            const auto found =
                i + 1 < parts.size() ? ranks.find({parts[i], parts[i + 1]}) : ranks.end();
            return found == ranks.end() ? -1 : found->second;
        };
        for (size_t i = 0; i < parts.size(); ++i) rank.push_back(rank_at(i));
        for (;;) {
            size_t best = parts.size();
            for (size_t i = 0; i < rank.size(); ++i)
                if (rank[i] >= 0 && (best == parts.size() || rank[i] < rank[best])) best = i;
            if (best == parts.size()) break;
            parts[best] += parts[best + 1];
            parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
            rank.erase(rank.begin() + static_cast<ptrdiff_t>(best) + 1);
            rank[best] = rank_at(best);
            if (best > 0) rank[best - 1] = rank_at(best - 1);
        }
        Words pieces;
        for (const int32_t id : tiny().encode(text, false, false))
            pieces.push_back(tiny().piece(id));
        CHECK(pieces == parts);
    }
}

TEST_CASE("SentencePiece cuts a long text as its parts") {
    const Tokenizer tokenizer =
        tokenizer_of(sentence_piece().set("tokenizer.ggml.add_space_prefix", false));
    // Nothing merges across a line break, which is a byte token.
    std::mt19937 random(7);
    std::string text;
    Ids parts;
    for (int line = 0; line < 800; ++line) {
        std::string words;
        for (int i = 0; i < 12; ++i) words += "hello \xC3\xA9h"[random() % 9];
        words += '\n';
        text += words;
        const Ids ids = tokenizer.encode(words, false, false);
        parts.insert(parts.end(), ids.begin(), ids.end());
    }
    REQUIRE(text.size() > 4096);
    CHECK(tokenizer.encode(text, false, false) == parts);
}

TEST_CASE("StreamDecoder gives whole characters only, and U+FFFD for what is none") {
    const std::string text = "a\xF0\x9F\x98\x80\xC3\xA9z";
    StreamDecoder decoder(tiny());
    std::string streamed;
    for (int32_t id : tiny().encode(text, false, false)) {
        const std::string part = decoder.feed(id);
        CHECK(part == to_valid_utf8(part));
        streamed += part;
    }
    CHECK(streamed == text);
    CHECK(decoder.flush() == "");

    // In this vocabulary the token of a byte has the byte's value.
    CHECK(decoder.feed(0xF0) == "");
    CHECK(decoder.feed(0x9F) == "");
    CHECK(decoder.feed('x') == "\uFFFDx");
    CHECK(decoder.feed(0xFF) == "\uFFFD");
    CHECK(decoder.feed(0xE2) == "");
    CHECK(decoder.feed(0x82) == "");
    CHECK(decoder.flush() == "\uFFFD");
    CHECK(decoder.flush() == "");
}

TEST_CASE("first_utf8 refuses what Unicode refuses") {
    for (std::string_view bad : {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                                 "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5", "\xFF"})
        CHECK(first_utf8(bad).state == Utf8State::kInvalid);
    CHECK(first_utf8("\xF0\x9F\x98").state == Utf8State::kIncomplete);
    CHECK(first_utf8("\xF0\x9F\x98\x80").code_point == 0x1F600);
    CHECK(to_valid_utf8("a\xF0\x9F\x98z\xC3") == "a\uFFFDz\uFFFD");
    std::string out;
    for (char32_t c : {U'a', U'é', U'€', U'😀'}) append_utf8(out, c);
    CHECK(out == "aé€😀");
}

TEST_CASE("Pre-tokenizers differ where their models do") {
    CHECK(split("gpt-2", "I'll DON'T 12345  x\n\n y") ==
          Words{"I", "'ll", " DON", "'", "T", " 12345", " ", " x", "\n\n", " y"});
    CHECK(split("llama-bpe", "I'LL 12345  x!\n\n y") ==
          Words{"I", "'LL", " ", "123", "45", " ", " x", "!\n\n", " y"});
    CHECK(split("qwen2", "I'LL 123  x!\n\n y") ==
          Words{"I", "'LL", " ", "1", "2", "3", " ", " x", "!\n\n", " y"});
    CHECK(split("default", "a+b, 1234") == Words{"a", "+", "b", ",", " ", "123", "4"});
    // A combining acute: a letter's part only for qwen35.
    CHECK(split("qwen2", "xa\u0301b") == Words{"xa", "\u0301b"});
    CHECK(split("qwen35", "xa\u0301b") == Words{"xa\u0301b"});
    CHECK(split("qwen35", "हिन्दी") == Words{"हिन्दी"});
    // U+180E is no whitespace in Unicode, U+0085 and U+3000 are.
    CHECK(split("qwen2", "a\u180E\u180E b") == Words{"a", "\u180E\u180E", " b"});
    CHECK(split("qwen2", "a\u0085\u3000\u3000b") == Words{"a", "\u0085\u3000", "\u3000b"});
    CHECK(split("qwen2", "x\r\n\r\n  y") == Words{"x", "\r\n\r\n", " ", " y"});
    CHECK(split("qwen2", "\xFF\xFE x\xC3") == Words{"\xFF\xFE", " x", "\xC3"});
    CHECK(split("qwen2", "").empty());
    CHECK(split("tekken", "camelCase HTTPServer 12//") ==
          Words{"camel", "Case", " HTTPServer", " ", "1", "2", "//"});
    // As the models' own files cut, and llama.cpp does not: vowel signs and accents stay with their
    // letters, and É is a capital letter.
    CHECK(split("tekken", "हिन्दी e\u0301t\u0301 เมื่อ aÉ") ==
          Words{"हिन्दी", " e\u0301t\u0301", " เมื่อ", " a", "É"});
    CHECK(split("gpt-4o", "தமிழ் ВесНа") == Words{"தமிழ்", " Вес", "На"});
    CHECK(split("gpt-4o", "Don'T 1234") == Words{"Don'T", " ", "123", "4"});
    CHECK(split("smollm", "a 12") == Words{"a", " ", "1", "2"});
    CHECK(split("falcon", "a`b 1234") == Words{"a", "`", "b", " ", "123", "4"});
    CHECK(split("bloom", "a(b c, 12") == Words{"a", "(", "b", " c", ",", " 12"});
    CHECK(split("viking", "a 12") == Words{"a", " ", "1", "2"});
    CHECK(split("deepseek-llm", "ab 中文 12\n") == Words{"ab", " ", "中文", " ", "12", "\n"});
    CHECK(split("deepseek-coder", "a, 12") == Words{"a", ",", " ", "1", "2"});
    CHECK(split("deepseek-v3", "a.b 1234 中文") == Words{"a", ".b", " ", "123", "4", " ", "中文"});
    CHECK(split("seed-coder", "x;\n") == Words{"x", ";", "\n"});
}

TEST_CASE("Every pre-tokenizer cuts runs of any length") {
    for (const std::string& name : pre_tokenizer_names())
        for (const std::string_view piece :
             {"ACGT", "acgt", "中", "ก", "e\u0301", " ", "\n", "7", ".", "<", "\xFF", "aB"}) {
            CAPTURE(name);
            CAPTURE(piece);
            std::string text;
            while (text.size() < 200'000) text += piece;
            std::string joined;
            for (const std::string& word : split(name.c_str(), text)) joined += word;
            CHECK(joined == text);
        }
}

TEST_CASE("Answers end with all tokens that llama.cpp takes, by id and by name") {
    const auto ends = [](std::vector<std::string> names, const char* key = nullptr) {
        std::vector<std::string> tokens = {"<unk>", "<s>", "zz"};
        tokens.insert(tokens.end(), names.begin(), names.end());
        GgufWriter writer;
        writer.set("tokenizer.ggml.model", "llama").set("tokenizer.ggml.tokens", tokens);
        if (key != nullptr) writer.set(key, 3u);
        const Tokenizer tokenizer = tokenizer_of(writer);
        std::vector<bool> found;
        for (size_t i = 0; i < names.size(); ++i)
            found.push_back(tokenizer.ends_generation(static_cast<int32_t>(i + 3)));
        return found;
    };
    for (const char* name : {"<|eot_id|>",
                             "<|im_end|>",
                             "<|end|>",
                             "<|return|>",
                             "<|call|>",
                             "<|flush|>",
                             "<|calls|>",
                             "<end_of_turn>",
                             "<|endoftext|>",
                             "</s>",
                             "<|eom_id|>",
                             "<EOT>",
                             "_<EOT>",
                             "[EOT]",
                             "[EOS]",
                             "<|end_of_text|>",
                             "<end_of_utterance>",
                             "<eos>",
                             "<turn|>",
                             "<|tool_response>",
                             "<｜end▁of▁sentence｜>",
                             "[e~[",
                             "<|fim_pad|>",
                             "<fim_pad>",
                             "<PAD>",
                             "[PAD]",
                             "<|fim_repo|>",
                             "<|repo_name|>",
                             "<reponame>",
                             "<|file_sep|>"}) {
        CAPTURE(name);
        CHECK(ends({name}) == std::vector{true});
    }
    for (const char* key : {"eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"}) {
        CAPTURE(key);
        CHECK(ends({"plain"}, ("tokenizer.ggml." + std::string(key) + "_token_id").c_str()) ==
              std::vector{true});
    }
    CHECK(ends({"plain"}) == std::vector{false});
    CHECK(ends({"<|fim_prefix|>"}, "tokenizer.ggml.fim_pre_token_id") == std::vector{false});
    CHECK(ends({"<|end|>", "<|return|>", "<|call|>"}) == std::vector{false, true, true});
    CHECK(ends({"</s>", "<|tool_response>"}) == std::vector{false, true});
}

TEST_CASE("A prompt to go on from never ends with EOS") {
    const Tokenizer tokenizer =
        tokenizer_of(sentence_piece().set("tokenizer.ggml.add_eos_token", true));
    CHECK(tokenizer.encode("he", true, false) == Ids{1, kMark, kHe, 2});
    CHECK(tokenizer.encode_prompt("he", true, false) == Ids{1, kMark, kHe});
}

TEST_CASE("A byte token that names no byte stands for its text") {
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "<0xZZ>", "<0x4", "<0x41>"};
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", tokens)
        .set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 6, 6, 6});
    const Tokenizer tokenizer = tokenizer_of(writer);
    CHECK(tokenizer.piece(3) == "<0xZZ>");
    CHECK(tokenizer.piece(4) == "<0x4");
    CHECK(tokenizer.piece(5) == "A");
}

TEST_CASE("A file that names no pre-tokenizer is said to be cut by a guess") {
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab"})
        .set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    CHECK(contains(tokenizer_of(writer).warning(), "which is a guess"));
    CHECK(tokenizer_of(writer.set("tokenizer.ggml.pre", "gpt-2")).warning().empty());
    writer.set("tokenizer.ggml.model", "llama");
    CHECK(contains(tokenizer_of(writer).warning(), "no scores"));
    CHECK(tokenizer_of(sentence_piece()).warning().empty());
}

TEST_CASE(
    "Another pre-tokenizer may be asked for; one that is not known is named, with those that are") {
    const auto path = std::filesystem::temp_directory_path() /
                      ("hetune-pre-" + std::to_string(::getpid()) + ".gguf");
    tiny_as("brand-new").write(path);
    const ModelFile file(path);
    std::filesystem::remove(path);
    CHECK_THROWS_WITH_AS(Tokenizer{file},
                         doctest::Contains("the pre-tokenizer 'brand-new' is not known; "
                                           "ModelOptions::pre_tokenizer takes another"),
                         ModelError);
    CHECK_THROWS_WITH_AS(Tokenizer(file, "newer"), doctest::Contains("'newer' is not known"),
                         ModelError);
    CHECK(Tokenizer(file, "qwen2").encode("Hello, world!", false, false) ==
          tiny().encode("Hello, world!", false, false));
}

TEST_CASE("The qwen35 pre-tokenizer keeps combining marks with their letters") {
    const Tokenizer qwen35 = tokenizer_of(tiny_as("qwen35"));
    CHECK(qwen35.encode("fn main() { println!(\"{}\", x); }", false, false) ==
          tiny().encode("fn main() { println!(\"{}\", x); }", false, false));
    CHECK(qwen35.decode(qwen35.encode("a\u0301e\u0300 हिन्दी", false, false)) ==
          "a\u0301e\u0300 हिन्दी");
}

TEST_CASE("llama-bpe adds BOS by itself and takes a whole word before merging its parts") {
    CHECK(tokenizer_of(tiny_as("llama-bpe")).encode("", true, false) == Ids{4093});
    CHECK(tokenizer_of(tiny_as("llama-bpe").set("tokenizer.ggml.add_bos_token", false))
              .encode("", true, false)
              .empty());

    // "abc" is a token, but the merges stop at "ab" + "c".
    const auto small = [](const std::string& pre) {
        GgufWriter writer;
        writer.set("tokenizer.ggml.model", "gpt2")
            .set("tokenizer.ggml.pre", pre)
            .set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "c", "ab", "abc"})
            .set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
        return tokenizer_of(writer).encode("abc", true, true);
    };
    CHECK(small("llama-bpe") == Ids{4});
    CHECK(small("qwen2") == Ids{3, 2});
}

TEST_CASE("Bytes that are no tokens become the unknown token, or vanish") {
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "<unk>"})
        .set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});  // "ab" is no token
    CHECK(tokenizer_of(writer).encode("abz", true, true) == Ids{0, 1});
    writer.set("tokenizer.ggml.unknown_token_id", 2u);
    CHECK(tokenizer_of(writer).encode("abz", true, true) == Ids{0, 1, 2});
}

TEST_CASE("The longest special token of a text is found first") {
    GgufWriter writer;
    writer.set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.tokens",
             std::vector<std::string>{"a", "b", "<|a", "a|>", "|>b|>", "ab"})
        .set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 3, 3, 3, 4})
        .set("tokenizer.ggml.merges", std::vector<std::string>{});
    const Tokenizer tokenizer = tokenizer_of(writer);
    CHECK(tokenizer.encode("<|a|>b|>", false, true) == Ids{2, 4});
    CHECK(tokenizer.encode("<|aa|>a", false, true) == Ids{2, 3, 0});
    CHECK(tokenizer.encode("a|>aa|>", false, true) == Ids{3, 0, 3});
    // User-defined tokens are found in any text.
    CHECK(tokenizer.encode("bab", false, false) == Ids{1, 5});
}

TEST_CASE("SentencePiece merges by score behind a leading space") {
    const Tokenizer tokenizer = tokenizer_of(sentence_piece());
    CHECK(tokenizer.encode("hello", true, false) == Ids{1, kMarkHello});
    CHECK(tokenizer.encode("hehello", false, false) == Ids{kMark, kHe, kHello});
    CHECK(tokenizer.encode("", true, false) == Ids{1});
    CHECK(tokenizer.decode(Ids{1, kMarkHello, kMarkHello}) == "hello hello");
    CHECK(tokenizer.decode(tokenizer.encode("  hello  ", true, false)) == "  hello  ");

    const Tokenizer bare =
        tokenizer_of(sentence_piece().set("tokenizer.ggml.add_space_prefix", false));
    CHECK(bare.encode("hello", false, false) == Ids{kHello});
    CHECK(bare.decode(Ids{kMarkHello}) == " hello");
    CHECK(tokenizer_of(sentence_piece().set("tokenizer.ggml.add_eos_token", true))
              .encode("he", true, false) == Ids{1, kMark, kHe, 2});
}

TEST_CASE("SentencePiece spells what it lacks in bytes") {
    const Tokenizer tokenizer = tokenizer_of(sentence_piece());
    CHECK(tokenizer.encode("é€", false, false) ==
          Ids{kMark, kAcute, kByte0 + 0xE2, kByte0 + 0x82, kByte0 + 0xAC});
    std::mt19937 random(11);
    for (int round = 0; round < 200; ++round) {
        std::string text(random() % 40, '\0');
        for (char& c : text)
            c = static_cast<char>(round % 2 == 0 ? random() : "hello \xC3\xA9"[random() % 8]);
        CAPTURE(round);
        CHECK(tokenizer.decode(tokenizer.encode(text, true, false)) == text);
    }
}

TEST_CASE("SentencePiece puts a space behind every special token") {
    const Tokenizer tokenizer = tokenizer_of(sentence_piece());
    CHECK(tokenizer.encode("[INST]hello</s>h", true, true) == Ids{1, kInst, kMarkHello, 2, 264});
    CHECK(tokenizer.encode("</s>", false, false) != Ids{2});
    CHECK(tokenizer.piece(kInst) == "[INST]");
    CHECK(tokenizer.piece(kE) == "e");
    CHECK(tokenizer.piece(kH) == "h");
}

TEST_CASE("A special token whose id is -1 is none") {
    const Tokenizer tokenizer = tokenizer_of(tiny_as("qwen2")
                                                 .set("tokenizer.ggml.bos_token_id", UINT32_MAX)
                                                 .set("tokenizer.ggml.eos_token_id", -1));
    CHECK(tokenizer.bos() == kNoToken);
    CHECK(tokenizer.eos() == kNoToken);
}

TEST_CASE("Ids outside of the vocabulary are left out, with one warning, and never used") {
    const Tokenizer plain = tokenizer_of(tiny_as("llama-bpe")
                                             .set("tokenizer.ggml.bos_token_id", 5000u)
                                             .set("tokenizer.ggml.eos_token_id", 4096u)
                                             .set("tokenizer.ggml.eot_token_id", int32_t{-7})
                                             .set("tokenizer.ggml.eom_token_id", 1'000'000u)
                                             .set("tokenizer.ggml.fim_pad_token_id", 4097u)
                                             .set("tokenizer.ggml.add_bos_token", true)
                                             .set("tokenizer.ggml.add_eos_token", true));
    CHECK(plain.bos() == kNoToken);
    CHECK(plain.eos() == kNoToken);
    CHECK(plain.eot() == 4095);  // by its name, <|im_end|>
    CHECK_FALSE(plain.adds_bos());
    CHECK_FALSE(plain.adds_eos());
    CHECK(plain.encode("hello", true, true) == plain.encode("hello", false, true));
    for (const char* part :
         {"bos_token_id is 5000, outside the vocabulary of 4096; it is left out",
          "eos_token_id is 4096", "eot_token_id is -7", "eom_token_id is 1000000",
          "fim_pad_token_id is 4097", "add_bos_token is true without a usable",
          "add_eos_token is true without a usable"})
        CHECK_MESSAGE(contains(plain.warning(), part), plain.warning());
    CHECK_FALSE(contains(plain.warning(), "\n"));

    // A SentencePiece file has ids of its trainer to fall back on.
    const Tokenizer piece =
        tokenizer_of(sentence_piece().set("tokenizer.ggml.bos_token_id", 70'000u));
    CHECK(piece.bos() == 1);
    CHECK(piece.encode("he", true, false) == Ids{1, kMark, kHe});
    CHECK(contains(piece.warning(), "bos_token_id is 70000"));
    CHECK(contains(piece.warning(), "; 1 is taken"));

    const Tokenizer without = tokenizer_of(tiny_as("qwen2")
                                               .set("tokenizer.ggml.bos_token_id", UINT32_MAX)
                                               .set("tokenizer.ggml.add_bos_token", true));
    CHECK(without.encode("hello", true, true) == without.encode("hello", false, true));
    CHECK(contains(without.warning(), "add_bos_token is true without a usable"));
}

TEST_CASE("Contractions are those of the models' own files, in which U+017F is an s") {
    for (const char* pre : {"llama-bpe", "qwen2", "qwen35", "seed-coder"})
        CHECK(split(pre, "it'\u017Fa ok'Sb we'rEx") ==
              Words{"it", "'\u017F", "a", " ok", "'S", "b", " we", "'rE", "x"});
    CHECK(split("gpt-4o", "it'\u017Fa") == Words{"it'\u017F", "a"});
}

TEST_CASE("Tokenizer refuses files that contradict themselves") {
    CHECK(contains(error_of(GgufWriter{}), "tokenizer.ggml.tokens"));
    CHECK(
        contains(error_of(GgufWriter{}.set("tokenizer.ggml.tokens", std::vector<std::string>{"a"})),
                 "names no kind of tokenizer (tokenizer.ggml.model)"));
    CHECK(contains(error_of(tiny_as("mystery")),
                   "pre-tokenizer 'mystery' is not known; ModelOptions::pre_tokenizer takes "
                   "another one. hetune has "
                   "a.x-4.0, bloom, chatglm-bpe, "));
    CHECK(contains(error_of(sentence_piece().set("tokenizer.ggml.add_bos_token", "yes")),
                   "is no bool"));

    GgufWriter small;
    small.set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
    CHECK(contains(error_of(small), "lacks the metadata key 'tokenizer.ggml.merges'"));
    for (const char* merge : {"ab", "", " b", "a "})
        CHECK(contains(error_of(GgufWriter(small).set("tokenizer.ggml.merges",
                                                      std::vector<std::string>{merge})),
                       "entry 0 is not of the form 'LEFT RIGHT'"));
    CHECK(contains(
        error_of(GgufWriter(small).set("tokenizer.ggml.token_type", std::vector<int32_t>{1})),
        "tokenizer.ggml.token_type has 1 entries for 2 tokens"));
    CHECK(contains(
        error_of(GgufWriter(small).set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 9})),
        "token_type of token 1 is no type"));
    CHECK(contains(
        error_of(GgufWriter(small).set("tokenizer.ggml.scores", std::vector<int32_t>{1, 2})),
        "scores of token 0 is no number"));

    GgufWriter wordpiece;
    wordpiece.set("tokenizer.ggml.model", "bert")
        .set("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
    CHECK(contains(error_of(wordpiece), "'bert' are not known; hetune has gpt2"));
}

}  // namespace hetune
