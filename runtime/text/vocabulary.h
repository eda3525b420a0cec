// The tokens of a model file: their texts, types and scores, and the ids with a meaning.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "planner/file/model_file.h"

namespace hetune {

inline constexpr int32_t kNoToken = -1;

enum class TokenType : uint8_t {  // the values of tokenizer.ggml.token_type
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
};

// Read and checked by its constructor, constant afterwards. Does not refer to the ModelFile.
class Vocabulary {
  public:
    // Throws ModelError when a list is missing, has another length than the tokens, or holds a
    // value of another kind.
    explicit Vocabulary(const ModelFile& file);
    Vocabulary(const Vocabulary&) = delete;  // by_text_ refers to text_
    Vocabulary& operator=(const Vocabulary&) = delete;

    int32_t size() const { return static_cast<int32_t>(text_.size()); }
    // As stored: byte-level characters in a gpt2 file, U+2581 for a space in a llama file.
    const std::string& text(int32_t id) const { return text_[id]; }
    TokenType type(int32_t id) const { return type_[id]; }
    float score(int32_t id) const { return score_.empty() ? 0.0f : score_[id]; }
    // kNoToken when no token has this text; of two with one text the later.
    int32_t find(std::string_view text) const;
    // Control and unknown tokens: not part of the text that a user sees.
    bool is_special(int32_t id) const;
    bool ends_generation(int32_t id) const { return ends_generation_[id]; }

    // kNoToken where the file has none.
    int32_t bos = kNoToken;
    int32_t eos = kNoToken;
    int32_t eot = kNoToken;  // end of turn, from the file's key or by its usual names
    int32_t unknown = kNoToken;

    // Ids of the file that lie outside of the vocabulary, and what is taken instead: one text each.
    const std::vector<std::string>& problems() const { return problems_; }

  private:
    void find_generation_ends(const ModelFile& file);
    // The id that the file gives under a name; `fallback`, as far as there is such a token, where
    // the file gives none or an impossible one.
    int32_t special_id(const ModelFile& file, std::string_view name, int32_t fallback);

    std::vector<std::string> text_;
    std::vector<float> score_;  // empty when the file has none
    std::vector<TokenType> type_;
    std::vector<bool> ends_generation_;
    std::vector<std::string> problems_;
    std::unordered_map<std::string_view, int32_t> by_text_;
};

}  // namespace hetune
