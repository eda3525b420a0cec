// Byte-level byte pair encoding (tokenizer.ggml.model "gpt2"). Any bytes survive encode and decode.
#pragma once

#include <array>
#include <unordered_map>

#include "runtime/text/pre_tokenizer.h"
#include "runtime/text/subword.h"
#include "runtime/text/vocabulary.h"

namespace hetune {

class ByteLevelBpe : public SubwordModel {
  public:
    // `vocabulary` must outlive this. Throws ModelError for merges that are none.
    ByteLevelBpe(const ModelFile& file, const Vocabulary& vocabulary,
                 const PreTokenizer& pre_tokenizer);

    void encode(std::string_view text, std::vector<int32_t>& ids) const override;
    std::string bytes(int32_t id) const override;

  private:
    // A symbol is a token id or, from vocabulary_.size() on, a text that only merges know.
    using Symbol = int32_t;
    struct Merge {
        Symbol left, right, result;
    };
    struct Workspace;

    Symbol symbol_of(std::string_view text);
    void encode_word(std::string_view word, Workspace& work, std::vector<int32_t>& ids) const;
    void emit(Symbol symbol, std::vector<int32_t>& ids) const;

    const Vocabulary& vocabulary_;
    WordSplitter splitter_;
    bool whole_words_first_;
    std::array<Symbol, 256> byte_symbol_;
    std::unordered_map<std::string, Symbol> extra_;  // symbols that are no token
    std::vector<std::string> extra_text_;            // by symbol - vocabulary_.size()
    std::vector<Merge> merges_;                      // by rank
    std::unordered_map<uint64_t, int32_t> rank_;     // by left << 32 | right
};

}  // namespace hetune
