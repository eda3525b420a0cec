#include "tools/batch/answer.h"

#include <fmt/format.h>

#include <ctime>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "tools/json_output.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

// As "chatcmpl-" and 32 digits that no other answer has.
std::string unique_id(std::string_view prefix) {
    static std::mutex mutex;
    static std::mt19937_64 random{std::random_device()() * (uint64_t{1} << 32) +
                                  std::random_device()()};
    const std::lock_guard lock(mutex);
    const uint64_t high = random(), low = random();
    return fmt::format("{}{:016x}{:016x}", prefix, high, low);
}

// The text of one token as it stands inside of a text. A tokenizer that puts a space in front of a
// text takes one away when it decodes, which shows in the first of two equal tokens only.
std::string token_text(const Model& model, int32_t token) {
    const int32_t twice[] = {token, token};
    const std::string first = model.detokenize(std::span(twice).first(1));
    return model.detokenize(twice).substr(first.size());
}

// Bytes beside the text: a token may be a part of a character, which no JSON text can be.
Json chat_token(const Model& model, const TokenLogprob& token) {
    const std::string text = token_text(model, token.token);
    Json bytes = Json::array();
    for (const char c : text) bytes.push_back(static_cast<uint8_t>(c));
    return {{"token", text}, {"logprob", token.logprob}, {"bytes", std::move(bytes)}};
}

Json chat_logprobs(const Model& model, const Generated& generated) {
    Json content = Json::array();
    for (size_t i = 0; i < generated.logprobs.size(); ++i) {
        Json token = chat_token(model, generated.logprobs[i]);
        token["top_logprobs"] = Json::array();
        for (const TokenLogprob& top : generated.top_logprobs[i])
            token["top_logprobs"].push_back(chat_token(model, top));
        content.push_back(std::move(token));
    }
    return {{"content", std::move(content)}};
}

Json completion_logprobs(const Model& model, const Generated& generated) {
    Json tokens = Json::array(), values = Json::array(), tops = Json::array(),
         offsets = Json::array();
    int64_t offset = 0;  // in characters of the answer
    for (size_t i = 0; i < generated.logprobs.size(); ++i) {
        const std::string text = token_text(model, generated.logprobs[i].token);
        Json top = Json::object();
        for (const TokenLogprob& other : generated.top_logprobs[i])
            top[token_text(model, other.token)] = other.logprob;
        tokens.push_back(text);
        values.push_back(generated.logprobs[i].logprob);
        tops.push_back(std::move(top));
        offsets.push_back(offset);
        for (const char c : text) offset += (c & 0xc0) != 0x80;
    }
    return {{"tokens", std::move(tokens)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(tops)},
            {"text_offset", std::move(offsets)}};
}

Json choice_of(const Model& model, const BatchRequest& request, const Generated& generated) {
    Json logprobs;
    if (request.options.logprobs >= 0)
        logprobs = request.is_chat ? chat_logprobs(model, generated)
                                   : completion_logprobs(model, generated);
    const bool ended = generated.stop == Stop::kEnd || generated.stop == Stop::kStopString;
    Json choice = {{"index", 0}};
    if (request.is_chat)
        choice["message"] = {{"role", "assistant"}, {"content", generated.text}};
    else
        choice["text"] = generated.text;
    choice["logprobs"] = std::move(logprobs);
    choice["finish_reason"] = ended ? "stop" : "length";
    // As vLLM: the text that ended the answer.
    choice["stop_reason"] =
        generated.stop == Stop::kStopString ? Json(generated.stop_string) : Json();
    return choice;
}

std::string line_of(const std::string& custom_id, int status, Json body, Json error) {
    const Json line = {
        {"id", unique_id("batch_req_")},
        {"custom_id", custom_id},
        {"response",
         {{"status_code", status}, {"request_id", unique_id("req_")}, {"body", std::move(body)}}},
        {"error", std::move(error)}};
    return json_text(line, -1) + "\n";
}

}  // namespace

std::string answer_line(const Model& model, const std::string& custom_id,
                        const BatchRequest& request, const Generated& generated) {
    const int64_t prompt = generated.prompt_tokens + generated.cached_tokens;
    const int64_t answer = std::ssize(generated.tokens);
    Json body = {{"id", unique_id(request.is_chat ? "chatcmpl-" : "cmpl-")},
                 {"object", request.is_chat ? "chat.completion" : "text_completion"},
                 {"created", std::time(nullptr)},
                 {"model", request.model.empty() ? model.info().name : request.model},
                 {"choices", Json::array({choice_of(model, request, generated)})},
                 {"usage",
                  {{"prompt_tokens", prompt},
                   {"completion_tokens", answer},
                   {"total_tokens", prompt + answer},
                   {"prompt_tokens_details", {{"cached_tokens", generated.cached_tokens}}}}}};
    return line_of(custom_id, 200, std::move(body), nullptr);
}

std::string error_line(const std::string& custom_id, int status, const std::string& message,
                       const std::string& field) {
    const char* kind = status < 500 ? "invalid_request_error" : "server_error";
    Json body = {{"error",
                  {{"message", message},
                   {"type", kind},
                   {"param", field.empty() ? Json() : Json(field)},
                   {"code", nullptr}}}};
    return line_of(custom_id, status, std::move(body), {{"code", kind}, {"message", message}});
}

}  // namespace hetune
