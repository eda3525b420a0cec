#include "runtime/text/tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "runtime/text/byte_level_bpe.h"
#include "runtime/text/pre_tokenizer.h"
#include "runtime/text/sentence_piece.h"

namespace hetune {

void Tokenizer::check_pre_name(const std::string& pre) {
    if (find_pre_tokenizer(pre) == nullptr)
        throw OptionError(
            fmt::format("ModelOptions::pre_tokenizer = \"{}\": this pre-tokenizer is not known; "
                        "hetune has {}",
                        pre, fmt::join(pre_tokenizer_names(), ", ")));
}

Tokenizer::Tokenizer(const ModelFile& file, const std::string& pre_name)
    : vocabulary_(std::make_unique<Vocabulary>(file)),
      special_tokens_(std::make_unique<SpecialTokens>(*vocabulary_)) {
    const auto fail = [&](const std::string& what) {
        throw ModelError(fmt::format("{}: {}", file.path().string(), what));
    };
    const std::string model = file.get_string("tokenizer.ggml.model", "");
    if (model.empty()) fail("names no kind of tokenizer (tokenizer.ggml.model)");
    if (model == "gpt2") {
        const std::string name =
            pre_name.empty() ? file.get_string("tokenizer.ggml.pre", "default") : pre_name;
        const PreTokenizer* pre = find_pre_tokenizer(name);
        if (pre == nullptr)
            fail(
                fmt::format("the pre-tokenizer '{}' is not known; ModelOptions::pre_tokenizer "
                            "takes another one. "
                            "hetune has {}",
                            name, fmt::join(pre_tokenizer_names(), ", ")));
        if (pre_name.empty() && file.find("tokenizer.ggml.pre") == nullptr)
            warning_ = fmt::format(
                "{}: names no pre-tokenizer (tokenizer.ggml.pre), so that words are cut as GPT-2 "
                "does, which is a guess; where answers are poor, give the right one with "
                "ModelOptions::pre_tokenizer, or convert the model anew",
                file.path().string());
        subword_ = std::make_unique<ByteLevelBpe>(file, *vocabulary_, *pre);
        add_bos_ = pre->adds_bos && bos() != kNoToken;
    } else if (!pre_name.empty()) {
        fail(
            fmt::format("ModelOptions::pre_tokenizer = \"{}\": its tokenizer is of the kind '{}', "
                        "which has no pre-tokenizer",
                        pre_name, model));
    } else if (model == "llama") {
        subword_ = std::make_unique<SentencePiece>(*vocabulary_);
        if (file.find("tokenizer.ggml.scores") == nullptr)
            warning_ = fmt::format(
                "{}: gives its tokens no scores (tokenizer.ggml.scores), so that texts are merged "
                "from left to right, which is a guess; convert the model anew",
                file.path().string());
        add_bos_ = bos() != kNoToken;
        space_prefix_ = file.get_bool("tokenizer.ggml.add_space_prefix", true);
    } else {
        fail(
            fmt::format("tokenizers of the kind '{}' are not known; hetune has gpt2 (byte-level "
                        "BPE) and llama (SentencePiece)",
                        model));
    }
    add_bos_ = file.get_bool("tokenizer.ggml.add_bos_token", add_bos_);
    add_eos_ = file.get_bool("tokenizer.ggml.add_eos_token", false);
    std::vector<std::string> problems = vocabulary_->problems();
    const auto leave_out = [&](bool& adds, int32_t id, std::string_view name) {
        if (!adds || id != kNoToken) return;
        adds = false;
        problems.push_back(
            fmt::format("tokenizer.ggml.add_{0}_token is true without a usable "
                        "tokenizer.ggml.{0}_token_id; none is added",
                        name));
    };
    leave_out(add_bos_, bos(), "bos");
    leave_out(add_eos_, eos(), "eos");
    if (problems.empty()) return;
    warning_ += fmt::format("{}{}: {}; convert the model anew", warning_.empty() ? "" : "; ",
                            file.path().string(), fmt::join(problems, "; "));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special,
                                       bool parse_special) const {
    std::vector<int32_t> ids = encode_prompt(text, add_special, parse_special);
    if (add_special && add_eos_) ids.push_back(eos());
    return ids;
}

std::vector<int32_t> Tokenizer::encode_prompt(std::string_view text, bool add_special,
                                              bool parse_special) const {
    // Places in a text are numbered with 31 bits, and SentencePiece makes three bytes of a space.
    constexpr size_t kMost = std::numeric_limits<int32_t>::max() / 3;
    if (text.size() > kMost)
        throw RequestError(
            fmt::format("a text of {} bytes is too long; {} are the most", text.size(), kMost));
    std::vector<int32_t> ids;
    if (add_special && add_bos_) ids.push_back(bos());
    bool behind_special = true;
    for (const SpecialTokens::Part& part : special_tokens_->cut(text, parse_special)) {
        if (part.id != kNoToken)
            ids.push_back(part.id);
        else
            append_text(part.text, behind_special, ids);
        behind_special = part.id != kNoToken;
    }
    return ids;
}

void Tokenizer::append_text(std::string_view text, bool behind_special,
                            std::vector<int32_t>& ids) const {
    if (space_prefix_ && behind_special)
        subword_->encode(' ' + std::string(text), ids);
    else
        subword_->encode(text, ids);
}

std::vector<int32_t> Tokenizer::encode_marked(std::string_view text, std::string_view mark) const {
    std::vector<int32_t> ids;
    bool behind_special = true;
    for (const SpecialTokens::Part& part : special_tokens_->cut(text, true)) {
        if (part.id != kNoToken) {
            ids.push_back(part.id);
        } else {
            std::string plain;
            for (size_t at = 0; at < part.text.size();) {
                const size_t next = std::min(part.text.find(mark, at), part.text.size());
                plain += part.text.substr(at, next - at);
                at = next + (next < part.text.size() ? mark.size() : 0);
            }
            append_text(plain, behind_special, ids);
        }
        behind_special = part.id != kNoToken;
    }
    return ids;
}

std::string Tokenizer::piece(int32_t id, bool special) const {
    if (id < 0 || id >= vocabulary_size())
        throw RequestError(
            fmt::format("token {} is outside the vocabulary of {}", id, vocabulary_size()));
    switch (vocabulary_->type(id)) {
        case TokenType::kControl:
        case TokenType::kUnknown:
            return special ? vocabulary_->text(id) : "";
        case TokenType::kUserDefined:
            return vocabulary_->text(id);
        case TokenType::kUnused:
            return "";
        case TokenType::kNormal:
        case TokenType::kByte:
            break;
    }
    return subword_->bytes(id);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool special) const {
    std::string text;
    bool at_start = space_prefix_;
    for (int32_t id : ids) {
        std::string next = piece(id, special);
        if (at_start && !vocabulary_->is_special(id)) {
            if (next.starts_with(' ')) next.erase(0, 1);
            at_start = false;
        }
        text += next;
    }
    return text;
}

bool Tokenizer::ends_generation(int32_t id) const {
    return id >= 0 && id < vocabulary_size() && vocabulary_->ends_generation(id);
}

}  // namespace hetune
