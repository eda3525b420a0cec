// What a model file says about text: its tokenizer and its chat template. Both are optional. A file
// without one, or with one that hetune cannot read, still loads, plans and computes: what is wrong
// is said when text is asked for.
#pragma once

#include <optional>
#include <string>

#include "planner/file/model_file.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/tokenizer.h"

namespace hetune {

struct TextOptions {
    std::string pre_tokenizer;  // instead of the file's
    ChatTemplateOptions chat;
};

// Constant after construction: any number of threads may use one.
class ModelText {
  public:
    // `vocabulary`: the width of the model's logits; -1 where it does not matter. Throws
    // std::runtime_error for options that name what does not exist.
    ModelText(const ModelFile& file, const TextOptions& options, int64_t vocabulary = -1);

    bool has_tokenizer() const { return tokenizer_.has_value(); }
    // Throws ModelError that says why there is none, and that token ids work without.
    const Tokenizer& tokenizer() const;
    // Throws ModelError that says why there is none, and which option gives another.
    const ChatTemplate& chat_template() const;

  private:
    std::optional<Tokenizer> tokenizer_;
    std::optional<ChatTemplate> template_;
    std::string tokenizer_error_;
    std::string template_error_;
};

}  // namespace hetune
