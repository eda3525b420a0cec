// Finds the tokens that are written out in a text: control tokens such as <|im_start|>, and tokens
// that a model's maker added as whole words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/text/vocabulary.h"

namespace hetune {

class SpecialTokens {
  public:
    // `vocabulary` must outlive this.
    explicit SpecialTokens(const Vocabulary& vocabulary);

    struct Part {
        std::string_view text;  // a view into the text that was cut
        int32_t id;             // kNoToken: ordinary text
    };
    // The parts of `text` in order. Where matches overlap the longest token of the whole text goes
    // first, as in llama.cpp. Without `special` only user-defined tokens are found.
    std::vector<Part> cut(std::string_view text, bool special) const;

    // The text with `mark` inside of every control token, and every token that ends an answer, that
    // is written out in it: cut() does not find these any more. `mark` stands in no token.
    std::string broken(std::string_view text, std::string_view mark) const;

  private:
    // Marks the tokens of `in_order_` that occur in `text`.
    std::vector<bool> occurring(std::string_view text, bool special) const;

    const Vocabulary& vocabulary_;
    std::vector<int32_t> in_order_;  // longest first, then by id
    std::vector<int32_t> by_text_;   // positions in in_order_, sorted by the token's text
};

}  // namespace hetune
