#include "runtime/text/vocabulary.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>

namespace hetune {
namespace {

[[noreturn]] void fail(const ModelFile& file, const std::string& what) {
    throw ModelError(fmt::format("{}: {}", file.path().string(), what));
}

// nullptr when missing; otherwise as long as there are tokens.
const MetaArray* per_token(const ModelFile& file, std::string_view key, size_t tokens) {
    const MetaArray* array = file.find_array(key);
    if (array != nullptr && array->size() != tokens)
        fail(file, fmt::format("{} has {} entries for {} tokens", key, array->size(), tokens));
    return array;
}

TokenType token_type(const ModelFile& file, const MetaValue& value, size_t id) {
    int64_t number = -1;
    if (const auto* i = std::get_if<int64_t>(&value.value)) number = *i;
    if (const auto* u = std::get_if<uint64_t>(&value.value); u != nullptr && *u <= 6)
        number = static_cast<int64_t>(*u);
    if (number == 0) return TokenType::kNormal;  // "undefined" in old files
    if (number < 1 || number > 6)
        fail(file, fmt::format("tokenizer.ggml.token_type of token {} is no type (1 to 6)", id));
    return static_cast<TokenType>(number);
}

}  // namespace

int32_t Vocabulary::special_id(const ModelFile& file, std::string_view name, int32_t fallback) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    const int64_t without = fallback < size() ? fallback : kNoToken;
    const int64_t id = file.get_int(key, without);
    // Converters write -1 for "none", which as an unsigned number is this one.
    if (id == -1 || id == std::numeric_limits<uint32_t>::max())
        return static_cast<int32_t>(without);
    if (id >= 0 && id < size()) return static_cast<int32_t>(id);
    // As in llama.cpp: the rest of the file may be sound.
    problems_.push_back(
        without == kNoToken
            ? fmt::format("{} is {}, outside the vocabulary of {}; it is left out", key, id, size())
            : fmt::format("{} is {}, outside the vocabulary of {}; {} is taken", key, id, size(),
                          without));
    return static_cast<int32_t>(without);
}

namespace {

// Names of the tokens behind which an answer ends. Files often name only one of several as eos
// (Llama 3: <|end_of_text|>, while chats end with <|eot_id|>). The lists hold all names that
// llama.cpp takes (llama-vocab.cpp), and those of OpenChat, ERNIE and Code Llama.
constexpr std::array<std::string_view, 13> kEndOfTurn = {"<|eot_id|>",
                                                         "<|im_end|>",
                                                         "<|end|>",
                                                         "<end_of_turn>",
                                                         "<|endofturn|>",
                                                         "<|end_of_turn|>",
                                                         "<turn|>",
                                                         "<EOT>",
                                                         "_<EOT>",
                                                         "< EOT >",
                                                         "[EOT]",
                                                         "<end_of_utterance>",
                                                         "<｜end▁of▁sentence｜>"};
constexpr std::array<std::string_view, 12> kEndOfText = {
    "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>",       "<|return|>",
    "<|call|>",      "<|flush|>",       "<|calls|>",        "</s>",
    "<eos>",         "[EOS]",           "<|tool_response>", "[e~["};

// Tokens of fill-in-the-middle that stand outside of a text: padding, and the names of the next
// repository and file. A model that writes one has ended its text.
struct FillToken {
    std::string_view key;  // tokenizer.ggml.{}_token_id
    std::array<std::string_view, 5> names;
};
constexpr std::array<FillToken, 3> kFillTokens = {{
    {"fim_pad", {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"fim_rep", {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"fim_sep", {"<|file_sep|>"}},
}};

}  // namespace

Vocabulary::Vocabulary(const ModelFile& file) {
    const MetaArray* tokens = file.find_array("tokenizer.ggml.tokens");
    if (tokens == nullptr || tokens->empty())
        fail(file, "has no vocabulary (metadata key 'tokenizer.ggml.tokens')");
    if (tokens->size() > std::numeric_limits<int32_t>::max())
        fail(file, "tokenizer.ggml.tokens has more entries than a token id can number");
    text_.reserve(tokens->size());
    for (const MetaValue& token : *tokens) {
        const auto* text = std::get_if<std::string>(&token.value);
        if (text == nullptr) fail(file, "tokenizer.ggml.tokens is no array of strings");
        text_.push_back(*text);
    }
    by_text_.reserve(text_.size());
    for (int32_t id = 0; id < size(); ++id) by_text_[text_[id]] = id;

    type_.assign(text_.size(), TokenType::kNormal);
    if (const MetaArray* types = per_token(file, "tokenizer.ggml.token_type", text_.size()))
        for (size_t id = 0; id < text_.size(); ++id) type_[id] = token_type(file, (*types)[id], id);
    if (const MetaArray* scores = per_token(file, "tokenizer.ggml.scores", text_.size()))
        for (const MetaValue& score : *scores) {
            const auto* number = std::get_if<double>(&score.value);
            if (number == nullptr || std::isnan(*number))
                fail(file,
                     fmt::format("tokenizer.ggml.scores of token {} is no number", score_.size()));
            score_.push_back(static_cast<float>(*number));
        }

    // A SentencePiece file that names no ids has these (the defaults of its trainer).
    const bool sentence_piece = file.get_string("tokenizer.ggml.model", "") == "llama";
    bos = special_id(file, "bos", sentence_piece ? 1 : kNoToken);
    eos = special_id(file, "eos", sentence_piece ? 2 : kNoToken);
    unknown = special_id(file, "unknown", sentence_piece ? 0 : kNoToken);
    eot = special_id(file, "eot", kNoToken);
    find_generation_ends(file);
}

void Vocabulary::find_generation_ends(const ModelFile& file) {
    ends_generation_.assign(text_.size(), false);
    // Some converters forget to mark these as control tokens; they are never text.
    const auto named = [&](std::string_view name) {
        const int32_t id = find(name);
        if (id == kNoToken) return;
        ends_generation_[id] = true;
        type_[id] = TokenType::kControl;
    };
    for (std::string_view name : kEndOfText) named(name);
    for (std::string_view name : kEndOfTurn) {
        named(name);
        if (eot == kNoToken) eot = find(name);
    }
    for (const FillToken& token : kFillTokens) {
        const int32_t id = special_id(file, token.key, kNoToken);
        if (id != kNoToken) ends_generation_[id] = true;
        for (std::string_view name : token.names)
            if (id == kNoToken && !name.empty()) named(name);
    }
    for (int32_t id : {eos, eot, special_id(file, "eom", kNoToken)})
        if (id != kNoToken) ends_generation_[id] = true;

    // Two families use such a name for something else. The format of gpt-oss and Solar Open ends
    // each part of an answer with <|end|>, and text with </s> is Gemma 4's to write.
    const auto is_no_end = [&](std::string_view name, TokenType type) {
        const int32_t id = find(name);
        if (id == kNoToken) return;
        ends_generation_[id] = false;
        type_[id] = type;
        if (eot == id) eot = kNoToken;
    };
    const auto has = [&](std::string_view name) { return find(name) != kNoToken; };
    const bool harmony = has("<|return|>") && has("<|call|>");
    if (harmony || (has("<|flush|>") && (has("<|call|>") || has("<|calls|>"))))
        is_no_end("<|end|>", TokenType::kUserDefined);
    if (has("<|tool_response>")) is_no_end("</s>", TokenType::kNormal);
}

int32_t Vocabulary::find(std::string_view text) const {
    const auto found = by_text_.find(text);
    return found == by_text_.end() ? kNoToken : found->second;
}

bool Vocabulary::is_special(int32_t id) const {
    return type_[id] == TokenType::kControl || type_[id] == TokenType::kUnknown;
}

}  // namespace hetune
