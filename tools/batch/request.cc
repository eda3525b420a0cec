#include "tools/batch/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "cache/json_text.h"
#include "cache/key.h"
#include "runtime/load/sampling.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kNoLimit = 1 << 30;      // tokens of an answer; the context ends before
constexpr int64_t kCompletionTokens = 16;  // OpenAI's default for completions; chats have none
constexpr int kTopLogprobs = 20;           // OpenAI's limit for chats, and hetune's

// Fields that would change the answer and that hetune does not have. A value that asks for nothing
// (null, false, 0, "", [], {}) is taken.
constexpr const char* kUnsupported[] = {"tools",
                                        "functions",
                                        "logit_bias",
                                        "presence_penalty",
                                        "suffix",
                                        "echo",
                                        "frequency_penalty",
                                        "prompt_logprobs",
                                        "guided_json",
                                        "guided_regex",
                                        "guided_choice",
                                        "guided_grammar",
                                        "modalities",
                                        "use_beam_search",
                                        "structured_outputs",
                                        "allowed_token_ids",
                                        "min_tokens",
                                        "logits_processors",
                                        "stop_token_ids",
                                        "bad_words"};

[[noreturn]] void refuse(const std::string& field, const std::string& what) {
    throw BadRequest(field, fmt::format("{} {}", field, what));
}

std::optional<int64_t> as_whole(const Json& value) {
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}))
        return std::nullopt;
    return value.get<int64_t>();
}

bool asks_for_nothing(const Json& value) {
    if (value.is_boolean()) return !value.get<bool>();
    if (value.is_number()) return value.get<double>() == 0;
    if (value.is_string()) return value.get_ref<const std::string&>().empty();
    return value.empty();  // of an array or object; null is empty
}

// The members of a body by type. A member that is null counts as absent, as in OpenAI's interface.
class Fields {
  public:
    explicit Fields(const Json& body) : body_(body) {}

    const Json* find(const std::string& name) const {
        const auto found = body_.find(name);
        return found == body_.end() || found->is_null() ? nullptr : &*found;
    }
    double number(const std::string& name, double absent) const {
        const Json* value = find(name);
        if (value == nullptr) return absent;
        if (!value->is_number() || !std::isfinite(value->get<double>()))
            refuse(name, "must be a number");
        return value->get<double>();
    }
    int64_t whole(const std::string& name, int64_t absent,
                  int64_t least = std::numeric_limits<int64_t>::min(),
                  int64_t most = std::numeric_limits<int64_t>::max()) const {
        const Json* value = find(name);
        if (value == nullptr) return absent;
        const auto number = as_whole(*value);
        if (!number) refuse(name, "must be a whole number");
        if (*number < least || *number > most)
            refuse(name, fmt::format("is {}; it must be {} to {}", *number, least, most));
        return *number;
    }
    bool truth(const std::string& name) const {
        const Json* value = find(name);
        if (value != nullptr && !value->is_boolean()) refuse(name, "must be true or false");
        return value != nullptr && value->get<bool>();
    }
    std::string text(const std::string& name) const {
        const Json* value = find(name);
        if (value != nullptr && !value->is_string()) refuse(name, "must be a string");
        return value == nullptr ? "" : value->get<std::string>();
    }

  private:
    const Json& body_;
};

void check_supported(const Fields& body) {
    for (const char* name : kUnsupported)
        if (const Json* value = body.find(name); value != nullptr && !asks_for_nothing(*value))
            refuse(name, "is not supported");
    for (const char* name : {"n", "best_of"})
        if (body.whole(name, 1) != 1)
            refuse(name, "must be 1; several answers are several requests, each with a seed");
    if (const Json* format = body.find("response_format"))
        if (!format->is_object() || format->value("type", Json()) != "text")
            refuse("response_format", "must be {\"type\": \"text\"}; no other is supported");
}

Sampling sampling_of(const Fields& body, const std::string& custom_id) {
    Sampling sampling;
    sampling.temperature = body.number("temperature", 1);
    sampling.top_p = body.number("top_p", 1);
    const int64_t top_k = body.whole("top_k", 0, -1, 1 << 30);
    sampling.top_k = static_cast<int>(std::max<int64_t>(top_k, 0));  // -1 is vLLM's word for all
    sampling.min_p = body.number("min_p", 0);
    // vLLM's name, and llama.cpp's.
    const std::string penalty =
        body.find("repetition_penalty") != nullptr ? "repetition_penalty" : "repeat_penalty";
    sampling.repeat_penalty = body.number(penalty, 1);
    sampling.repeat_window = static_cast<int>(
        body.whole("repeat_window", Sampling().repeat_window, 0, std::numeric_limits<int>::max()));
    // Seeds of 32 bits are those of `hetune run`; longer ones are folded.
    const auto seed = static_cast<uint64_t>(body.whole(
        "seed", static_cast<int64_t>(content_hash(custom_id.data(), custom_id.size()).low)));
    sampling.seed = static_cast<uint32_t>(seed ^ seed >> 32);
    try {
        check_sampling(sampling);
    } catch (const OptionError& error) {  // "Sampling::top_p is 2; ..."
        std::string text = error.what();
        text.erase(0, text.find("::") + 2);
        std::string field = text.substr(0, text.find(' '));
        text.erase(0, field.size() + 1);
        refuse(field == "repeat_penalty" ? penalty : field, text);
    }
    return sampling;
}

std::vector<std::string> stops_of(const Fields& body) {
    const Json* stop = body.find("stop");
    if (stop == nullptr) return {};
    std::vector<std::string> texts;
    const Json list = stop->is_array() ? *stop : Json::array({*stop});
    for (const Json& text : list) {
        if (!text.is_string() || text.get_ref<const std::string&>().empty())
            refuse("stop", "must be a text or a list of texts, none of them empty");
        texts.push_back(text.get<std::string>());
    }
    return texts;
}

// Chats say whether, and apart from it how many; completions only how many.
int logprobs_of(const Fields& body, bool is_chat) {
    if (!is_chat) return static_cast<int>(body.whole("logprobs", -1, 0, kTopLogprobs));
    const int64_t top = body.whole("top_logprobs", 0, 0, kTopLogprobs);
    if (body.truth("logprobs")) return static_cast<int>(top);
    if (top > 0) refuse("top_logprobs", "needs \"logprobs\": true");
    return -1;
}

// A text, or parts of it, which are joined by line breaks as vLLM and llama.cpp do.
std::string content_of(const Json& content, const std::string& field) {
    if (content.is_string()) return content.get<std::string>();
    if (!content.is_array()) refuse(field, "must be a text or a list of text parts");
    std::string all;
    for (size_t i = 0; i < content.size(); ++i) {
        const std::string part = fmt::format("{}[{}]", field, i);
        if (!content[i].is_object())
            refuse(part, "must be {\"type\": \"text\", \"text\": \"...\"}");
        const Fields fields(content[i]);
        const Json* type = fields.find("type");
        const Json* text = fields.find("text");
        if (type == nullptr || *type != "text" || text == nullptr || !text->is_string())
            refuse(part,
                   "must be {\"type\": \"text\", \"text\": \"...\"}; no other kind of part "
                   "is supported");
        if (i > 0) all += '\n';
        all += text->get<std::string>();
    }
    return all;
}

std::vector<Message> messages_of(const Fields& body) {
    const Json* list = body.find("messages");
    if (list == nullptr || !list->is_array() || list->empty())
        refuse("messages", "must be a list of at least one message");
    std::vector<Message> messages;
    for (size_t i = 0; i < list->size(); ++i) {
        const std::string field = fmt::format("messages[{}]", i);
        const Json& message = (*list)[i];
        if (!message.is_object()) refuse(field, "must be an object with role and content");
        const Fields fields(message);
        const Json* role = fields.find("role");
        if (role == nullptr || !role->is_string())
            refuse(field + ".role", "must be a text, as \"user\"");
        const Json* content = fields.find("content");
        messages.push_back(
            {role->get<std::string>(),
             content_of(content == nullptr ? Json() : *content, field + ".content")});
    }
    return messages;
}

std::variant<std::string, std::vector<int32_t>> prompt_of(const Fields& body) {
    constexpr const char* kWanted =
        "must be a text, a list of token ids, or a list of one of these";
    const Json* prompt = body.find("prompt");
    if (prompt == nullptr) refuse("prompt", kWanted);
    if (prompt->is_array() && !prompt->empty() && !(*prompt)[0].is_number()) {
        if (prompt->size() > 1)
            refuse("prompt",
                   fmt::format("has {} texts; give each a request of its own", prompt->size()));
        prompt = &(*prompt)[0];
    }
    if (prompt->is_string()) return prompt->get<std::string>();
    if (!prompt->is_array()) refuse("prompt", kWanted);
    std::vector<int32_t> ids;
    for (const Json& id : *prompt) {
        const auto number = as_whole(id);
        if (!number) refuse("prompt", kWanted);
        if (*number < 0 || *number > INT32_MAX)
            refuse("prompt", fmt::format("has {}, which is no token id", *number));
        ids.push_back(static_cast<int32_t>(*number));
    }
    return ids;
}

bool is_text(const Json& object, const char* name, std::string_view text) {
    const auto found = object.find(name);
    return found != object.end() && *found == text;
}

}  // namespace

BatchRequest parse_request(const Json& request) {
    const auto custom_id = json_value<std::string>(request, "custom_id");
    if (!is_text(request, "method", "POST")) refuse("method", "must be \"POST\"");
    BatchRequest result;
    result.is_chat = is_text(request, "url", kChatUrl);
    if (!result.is_chat && !is_text(request, "url", kCompletionsUrl))
        refuse("url", fmt::format("must be \"{}\" or \"{}\"", kChatUrl, kCompletionsUrl));
    const auto found = request.find("body");
    if (found == request.end() || !found->is_object()) refuse("body", "must be an object");

    const Fields body(*found);
    result.model = body.text("model");
    check_supported(body);
    GenerateOptions& options = result.options;
    options.sampling = sampling_of(body, custom_id);
    options.stop = stops_of(body);
    options.ignore_end = body.truth("ignore_eos");
    options.logprobs = logprobs_of(body, result.is_chat);
    const int64_t most =
        body.whole("max_tokens", result.is_chat ? kNoLimit : kCompletionTokens, 1, kNoLimit);
    options.max_tokens = body.whole("max_completion_tokens", most, 1, kNoLimit);
    if (!result.is_chat) {
        result.prompt = prompt_of(body);
        return result;
    }
    result.messages = messages_of(body);
    if (const Json* kwargs = body.find("chat_template_kwargs")) {
        if (!kwargs->is_object()) refuse("chat_template_kwargs", "must be an object");
        result.template_kwargs = kwargs->dump();
    }
    return result;
}

}  // namespace hetune
