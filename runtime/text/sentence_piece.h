// SentencePiece vocabularies with scores (tokenizer.ggml.model "llama"): neighbours merge as long
// as their union is a token, the best score first; what is no token falls back to bytes.
#pragma once

#include <array>

#include "runtime/text/subword.h"
#include "runtime/text/vocabulary.h"

namespace hetune {

class SentencePiece : public SubwordModel {
  public:
    // `vocabulary` must outlive this.
    explicit SentencePiece(const Vocabulary& vocabulary);

    void encode(std::string_view text, std::vector<int32_t>& ids) const override;
    std::string bytes(int32_t id) const override;

  private:
    const Vocabulary& vocabulary_;
    std::array<int32_t, 256> byte_token_;  // "<0x41>"; kNoToken where there is none
};

}  // namespace hetune
