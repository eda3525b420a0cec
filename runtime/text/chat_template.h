// A conversation to the text that the model was trained on: by the template that the user chose, by
// the file's own (tokenizer.chat_template), or as ChatML where the file has none.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "planner/file/model_file.h"
#include "runtime/text/jinja/template.h"
#include "runtime/text/tokenizer.h"

namespace hetune {

using Json = nlohmann::ordered_json;

struct ChatOptions {
    bool add_generation_prompt = true;  // end with the opening of the assistant's answer
    Json tools;                         // as in OpenAI's API; null when there are none
    // More variables for the template, for example {"enable_thinking": false}; null for none.
    Json variables;
};

struct ChatTemplateOptions {
    std::string source;  // a name of named_templates() or a Jinja file; empty: the model file's
};

// The Jinja text of a well-known template, such as "chatml"; empty for another name.
std::string_view named_template(std::string_view name);
std::vector<std::string_view> template_names();

// Any number of threads may use one.
class ChatTemplate {
  public:
    // Parses the template. `tokenizer`, which may be nullptr, tells bos_token and eos_token. Throws
    // ModelError naming file, line and construct for a template of the model file, and
    // std::runtime_error for one that `options` name.
    ChatTemplate(const ModelFile& file, const Tokenizer* tokenizer,
                 const ChatTemplateOptions& options = {});

    // True when there is no template and ChatML stands in.
    bool is_built_in() const { return !template_.has_value(); }

    // `messages`: a list of objects with role and content, as in OpenAI's API; arguments of tool
    // calls may be JSON text, as there, or objects. Throws std::runtime_error: what the template
    // says about messages that it refuses, or that there is no template to present tools.
    std::string render(const Json& messages, const ChatOptions& options = {}) const;

    // The same, for the template's variables as a dict: messages and all others. What chat adds of
    // itself is there unless `variables` has it: bos_token, eos_token, add_generation_prompt.
    std::string render_variables(const jinja::Value& variables) const;

    // The ids of a conversation. Control tokens that the template writes become tokens; those that
    // are written out in the content of a message stay text, so that no message can end its turn
    // and forge another one. BOS stands in front just once, whether the template writes it or the
    // tokenizer adds it. Throws what render() throws.
    std::vector<int32_t> encode(const Tokenizer& tokenizer, const Json& messages,
                                const ChatOptions& options = {}) const;

  private:
    std::string file_;
    std::string source_;  // of template_
    std::optional<jinja::Template> template_;
    Json token_texts_;  // bos_token, eos_token
};

// The object of --chat-template-kwargs, to become ChatOptions::variables; null for an empty text.
// Throws std::runtime_error for a text that is no JSON object.
Json chat_variables(const std::string& text);

// ChatML: "<|im_start|>user\nHello<|im_end|>\n" for each message. Throws std::runtime_error for a
// message without a role, or whose content is no text.
std::string render_chat(const Json& messages, bool add_generation_prompt);

}  // namespace hetune
