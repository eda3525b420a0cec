// Text to token ids and back, as the model's file describes it. Ids equal llama.cpp's.
// Byte-level BPE ("gpt2") and SentencePiece ("llama").
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "planner/file/model_file.h"
#include "runtime/text/special_tokens.h"
#include "runtime/text/subword.h"
#include "runtime/text/vocabulary.h"

namespace hetune {

// Constant after construction: any number of threads may use one.
class Tokenizer {
  public:
    // Does not refer to the file afterwards. Throws ModelError when the file has no tokenizer, one
    // or one of a kind that hetune lacks. `pre`: the pre-tokenizer to use
    // instead of the file's.
    explicit Tokenizer(const ModelFile& file, const std::string& pre = {});

    // Throws std::runtime_error, with a list of names, for a name that is not known.
    static void check_pre_name(const std::string& pre);

    // Any bytes will do; those that are no UTF-8 become byte tokens.
    //   add_special: with the BOS and EOS that the model wants around a whole text.
    //   parse_special: a control token written out in the text ("<|im_end|>") becomes that token.
    //     Without it, as for text that a user typed, it stays text.
    std::vector<int32_t> encode(std::string_view text, bool add_special, bool parse_special) const;

    // As encode() with parse_special, for a text in which marked() has marked the tokens that
    // are to stay text; the marks are taken out.
    std::vector<int32_t> encode_marked(std::string_view text, std::string_view mark) const;
    // Text of a message, with `mark` inside of each control token that is written out in it.
    std::string marked(std::string_view text, std::string_view mark) const {
        return special_tokens_->broken(text, mark);
    }
    // A text to go on from: as encode() with add_special, but never with the EOS that embedding and
    // training want behind a text (tokenizer.ggml.add_eos_token).
    std::vector<int32_t> encode_prompt(std::string_view text, bool add_special,
                                       bool parse_special) const;

    // The bytes of one token: perhaps part of a character (see StreamDecoder). Control tokens give
    // their name when `special`, otherwise nothing. Throws std::runtime_error for an id outside
    // the vocabulary.
    std::string piece(int32_t id, bool special = false) const;
    // The pieces in a row, less the space that SentencePiece puts in front of a text.
    std::string decode(std::span<const int32_t> ids, bool special = false) const;

    int32_t vocabulary_size() const { return vocabulary_->size(); }
    // kNoToken where the file has none.
    int32_t bos() const { return vocabulary_->bos; }
    int32_t eos() const { return vocabulary_->eos; }
    int32_t eot() const { return vocabulary_->eot; }
    bool adds_bos() const { return add_bos_; }
    bool adds_eos() const { return add_eos_; }
    // EOS, end of turn, end of message, and tokens with the usual names of these.
    bool ends_generation(int32_t id) const;
    const Vocabulary& vocabulary() const { return *vocabulary_; }
    // One line for the user where the file leaves something to be guessed, or where its ids lie
    // outside of its vocabulary; empty otherwise.
    const std::string& warning() const { return warning_; }

  private:
    void append_text(std::string_view text, bool behind_special, std::vector<int32_t>& ids) const;

    std::unique_ptr<const Vocabulary> vocabulary_;
    std::unique_ptr<const SpecialTokens> special_tokens_;
    std::unique_ptr<const SubwordModel> subword_;
    bool add_bos_ = false;
    bool add_eos_ = false;
    bool space_prefix_ = false;
    std::string warning_;
};

}  // namespace hetune
