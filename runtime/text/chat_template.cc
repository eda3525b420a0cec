#include "runtime/text/chat_template.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "planner/file/read_file.h"
#include "runtime/text/utf8.h"

namespace hetune {
namespace {

// Text, or a list of {"type": "text", "text": ...}; null (a message of tool calls only) is empty.
std::string content_text(const Json& message) {
    const auto content = message.find("content");
    if (content == message.end() || content->is_null()) return "";
    if (content->is_string()) return content->get<std::string>();
    std::string text;
    if (!content->is_array()) throw std::runtime_error("a message's content is no text");
    for (const Json& part : *content) {
        if (!part.is_object() || part.value("type", "") != "text" || !part.contains("text") ||
            !part["text"].is_string())
            throw std::runtime_error("a message's content has a part that is no text");
        text += part["text"].get<std::string>();
    }
    return text;
}

// Templates are written for arguments as objects; the API sends them as text.
Json with_parsed_arguments(Json messages) {
    for (Json& message : messages) {
        if (!message.is_object() || !message.contains("tool_calls")) continue;
        for (Json& call : message["tool_calls"]) {
            if (!call.is_object()) continue;
            Json& function = call.contains("function") ? call["function"] : call;
            if (!function.is_object() || !function.contains("arguments")) continue;
            Json& arguments = function["arguments"];
            if (!arguments.is_string()) continue;
            Json parsed = Json::parse(arguments.get<std::string>(), nullptr, false);
            if (parsed.is_object()) arguments = std::move(parsed);
        }
    }
    return messages;
}

std::string given_source(const std::string& name_or_file) {
    if (const std::string_view known = named_template(name_or_file); !known.empty())
        return std::string(known);
    try {
        return read_file(name_or_file);
    } catch (const std::runtime_error& error) {
        throw std::runtime_error(
            fmt::format("ModelOptions::chat_template = \"{}\": neither a file that can be read nor "
                        "one of {} ({})",
                        name_or_file, fmt::join(template_names(), ", "), error.what()));
    }
}

// A character that none of the texts has, of those that Unicode leaves to private use.
std::string unused_character(const std::vector<std::string>& texts) {
    for (char32_t c = 0xF8FF; c >= 0xE000; --c) {
        std::string character;
        append_utf8(character, c);
        if (std::ranges::none_of(texts, [&](const std::string& text) {
                return text.find(character) != std::string::npos;
            }))
            return character;
    }
    throw std::runtime_error("the messages of the chat use every character of U+E000 to U+F8FF");
}

// The text of a message, or of the parts that it is made of.
void mark_texts(Json& content, const Tokenizer& tokenizer, const std::string& mark) {
    if (content.is_string()) {
        content = tokenizer.marked(content.get<std::string>(), mark);
    } else if (content.is_structured()) {
        for (Json& part : content) mark_texts(part, tokenizer, mark);
    }
}

// Bounds the depth: to be called before JSON is copied or printed, which recurses.
jinja::Value value_of(const char* what, const Json& json) {
    try {
        return jinja::Value::of_json(json);
    } catch (const jinja::Fault& fault) {
        throw std::runtime_error(fmt::format("{} of the chat: {}", what, fault.what()));
    }
}

}  // namespace

ChatTemplate::ChatTemplate(const ModelFile& file, const Tokenizer* tokenizer,
                           const ChatTemplateOptions& options)
    : file_(file.path().string()), token_texts_(Json::object()) {
    const auto add_token = [&](const char* name, int32_t id) {
        if (id != kNoToken) token_texts_[name] = tokenizer->vocabulary().text(id);
    };
    if (tokenizer != nullptr) {
        add_token("bos_token", tokenizer->bos());
        add_token("eos_token", tokenizer->eos());
    }
    if (!options.source.empty()) {
        source_ = given_source(options.source);
        template_.emplace("chat template " + options.source, source_);
        return;
    }
    source_ = file.get_string("tokenizer.chat_template", "");
    if (source_.empty()) return;
    try {
        template_.emplace(file_ + ": tokenizer.chat_template", source_);
    } catch (const jinja::TemplateError& error) {
        throw ModelError(error.what());
    }
}

std::string ChatTemplate::render(const Json& messages, const ChatOptions& options) const {
    if (!messages.is_array()) throw std::runtime_error("the messages of a chat are no list");
    const bool has_tools = !options.tools.is_null() && !options.tools.empty();
    if (!template_) {
        if (has_tools)
            throw std::runtime_error(
                fmt::format("{}: has no tokenizer.chat_template, so there is no way to tell the "
                            "model of tools; send the request without them",
                            file_));
        return render_chat(messages, options.add_generation_prompt);
    }
    auto variables = std::make_shared<jinja::Dict>();
    const auto set = [&](const std::string& name, jinja::Value value) {
        variables->set(jinja::Value::text(name), std::move(value));
    };
    for (const auto& entry : token_texts_.items())
        set(entry.key(), jinja::Value::text(entry.value().get<std::string>()));
    if (options.variables.is_object())
        for (const auto& entry : options.variables.items())
            set(entry.key(), value_of("a variable", entry.value()));
    value_of("the messages", messages);
    set("messages", value_of("the messages", with_parsed_arguments(messages)));
    set("add_generation_prompt", jinja::Value::of(options.add_generation_prompt));
    set("tools", has_tools ? value_of("the tools", options.tools) : jinja::Value::none());
    return template_->render(jinja::Value::of(std::move(variables)));
}

std::string ChatTemplate::render_variables(const jinja::Value& given) const {
    auto variables = std::make_shared<jinja::Dict>();
    const auto set = [&](const std::string& name, jinja::Value value) {
        variables->set(jinja::Value::text(name), std::move(value));
    };
    for (const auto& entry : token_texts_.items())
        set(entry.key(), jinja::Value::text(entry.value().get<std::string>()));
    set("add_generation_prompt", jinja::Value::of(true));
    set("tools", jinja::Value::none());
    for (const auto& [name, value] : given.dict()->entries) variables->set(name, value);
    const jinja::Value all = jinja::Value::of(std::move(variables));
    if (template_) return template_->render(all);
    return jinja::Template("chatml", named_template("chatml")).render(all);
}

std::vector<int32_t> ChatTemplate::encode(const Tokenizer& tokenizer, const Json& messages,
                                          const ChatOptions& options) const {
    value_of("the messages", messages);
    value_of("the variables", options.variables);
    const std::string mark = unused_character(
        {messages.dump(-1, ' ', false, Json::error_handler_t::replace),
         options.variables.dump(-1, ' ', false, Json::error_handler_t::replace), source_});
    Json marked = messages;
    if (marked.is_array())
        for (Json& message : marked)
            if (message.is_object() && message.contains("content"))
                mark_texts(message["content"], tokenizer, mark);
    std::vector<int32_t> ids = tokenizer.encode_marked(render(marked, options), mark);
    if (tokenizer.adds_bos() && (ids.empty() || ids.front() != tokenizer.bos()))
        ids.insert(ids.begin(), tokenizer.bos());
    return ids;
}

Json chat_variables(const std::string& text) {
    if (text.empty()) return nullptr;
    Json variables = Json::parse(text, nullptr, false);
    if (!variables.is_object())
        throw std::runtime_error(
            fmt::format("variables for the chat template, '{}': no JSON object, such as "
                        "{{\"enable_thinking\": false}}",
                        text));
    return variables;
}

std::string render_chat(const Json& messages, bool add_generation_prompt) {
    std::string text;
    for (const Json& message : messages) {
        if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
            throw std::runtime_error("a message of the chat has no role");
        text += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", message["role"].get<std::string>(),
                            content_text(message));
    }
    if (add_generation_prompt) text += "<|im_start|>assistant\n";
    return text;
}

}  // namespace hetune
