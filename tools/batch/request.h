// One request of a batch: what OpenAI's bodies of chat completions and completions say, as hetune
// understands it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/api/hetune.h"

namespace hetune {

constexpr std::string_view kChatUrl = "/v1/chat/completions";
constexpr std::string_view kCompletionsUrl = "/v1/completions";
// JSON of a request may nest so deep; schemas of tools, which are ignored or refused, do.
constexpr int kRequestDepth = 128;

// A request that is wrong, or asks for what hetune does not do.
class BadRequest : public RequestError {
  public:
    BadRequest(std::string field, const std::string& message)
        : RequestError(message), field_(std::move(field)) {}
    const std::string& field() const { return field_; }  // of the body, as "messages[0].role"

  private:
    std::string field_;
};

struct BatchRequest {
    std::string model;  // as the request names it; every request is answered by the same
    bool is_chat = false;
    std::vector<Message> messages;                           // of a chat
    std::string template_kwargs;                             // of a chat; a JSON object, or empty
    std::variant<std::string, std::vector<int32_t>> prompt;  // of a completion
    GenerateOptions options;
};

// Takes an object with a custom_id, method, url and body. Defaults are OpenAI's, without any cut of
// the draws. A request without a seed gets one that follows from its custom_id, so that it has the
// same answer in every run. Throws BadRequest.
BatchRequest parse_request(const nlohmann::ordered_json& request);

}  // namespace hetune
