#include "runtime/text/model_text.h"

#include <fmt/format.h>

namespace hetune {

ModelText::ModelText(const ModelFile& file, const TextOptions& options, int64_t vocabulary) {
    // An option that was given must be right, whether it is used or not.
    if (!options.pre_tokenizer.empty()) Tokenizer::check_pre_name(options.pre_tokenizer);
    try {
        tokenizer_.emplace(file, options.pre_tokenizer);
        if (vocabulary >= 0 && tokenizer_->vocabulary_size() > vocabulary)
            throw ModelError(fmt::format("{}: the tokenizer has {} tokens, but the model {}",
                                         file.path().string(), tokenizer_->vocabulary_size(),
                                         vocabulary));
    } catch (const ModelError& error) {
        tokenizer_.reset();
        tokenizer_error_ = error.what();
    }
    try {
        template_.emplace(file, tokenizer_ ? &*tokenizer_ : nullptr, options.chat);
    } catch (const ModelError& error) {
        template_error_ = error.what();
    }
}

const Tokenizer& ModelText::tokenizer() const {
    if (!tokenizer_)
        throw ModelError(
            tokenizer_error_ +
            "; text cannot be read or written, but token ids can (`hetune logits --tokens`)");
    return *tokenizer_;
}

const ChatTemplate& ModelText::chat_template() const {
    if (!template_)
        throw ModelError(
            template_error_ +
            "; ModelOptions::chat_template takes another: a FILE or a NAME such as chatml");
    return *template_;
}

}  // namespace hetune
