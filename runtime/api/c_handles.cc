#include "runtime/api/c_handles.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "cache/error.h"
#include "cache/json_text.h"

namespace hetune {
namespace {

using JsonObject = nlohmann::ordered_json;

JsonObject members_of(const ModelInfo& info) {
    return {{"file", info.file},
            {"name", info.name},
            {"architecture", info.architecture},
            {"backend", info.backend},
            {"device", info.device},
            {"arch", info.arch},
            {"compiler", info.compiler},
            {"context", info.context},
            {"trained_context", info.trained_context},
            {"vocabulary", info.vocabulary},
            {"embedding", info.embedding},
            {"memory_bytes", info.memory_bytes},
            {"memory_table", info.memory_table},
            {"has_tokenizer", info.has_tokenizer},
            {"kernels_compiled", info.kernels_compiled},
            {"kernels_cached", info.kernels_cached},
            {"weights_repacked", info.weights_repacked},
            {"kernels_certified", info.kernels_certified},
            {"kernels_refused", info.kernels_refused},
            {"compile_seconds", info.compile_seconds},
            {"repack_seconds", info.repack_seconds},
            {"load_seconds", info.load_seconds},
            {"certify_seconds", info.certify_seconds}};
}

JsonObject members_of(const Generated& generated) {
    return {{"stop", to_string(generated.stop)},
            {"stop_string", generated.stop_string},
            {"prompt_tokens", generated.prompt_tokens},
            {"cached_tokens", generated.cached_tokens},
            {"prefill_seconds", generated.prefill_seconds},
            {"decode_seconds", generated.decode_seconds},
            {"prefill_host_seconds", generated.prefill_host_seconds},
            {"decode_host_seconds", generated.decode_host_seconds}};
}

}  // namespace

void refuse_null(const char* argument) {
    throw RequestError(fmt::format("the argument `{}` is NULL", argument));
}

std::string_view text_argument(const char* text, size_t bytes, const char* argument) {
    if (bytes == 0) return {};
    need(text, argument);
    return {text, bytes == HETUNE_STRLEN ? std::strlen(text) : bytes};
}

std::span<const int32_t> tokens_argument(const int32_t* tokens, size_t count) {
    if (count == 0) return {};
    return {&need(tokens, "tokens"), count};
}

std::string optional_text(const char* text) { return text == nullptr ? "" : text; }

std::vector<Message> messages_argument(const char* messages) {
    need(messages, "messages");
    const char* const kShape = R"([{"role": "user", "content": "Hello"}])";
    std::vector<Message> conversation;
    try {
        const JsonObject json = parse_json(messages);
        if (!json.is_array()) throw CacheError("it is no JSON array");
        for (const JsonObject& message : json) {
            conversation.push_back({.role = json_value<std::string>(message, "role"),
                                    .content = json_value<std::string>(message, "content")});
            if (message.size() > 2)
                throw CacheError("it has a message with more than 'role' and 'content'");
        }
    } catch (const CacheError& error) {
        throw RequestError(
            fmt::format("the argument `messages` cannot be read: {}; it must look like {}",
                        error.what(), kShape));
    }
    return conversation;
}

void check_flags(int flags, int known) {
    if ((flags & ~known) != 0)
        throw RequestError(
            fmt::format("the argument `flags` is {}; its bits may be those of {}", flags, known));
}

void give(const std::string& text, char** place, size_t* bytes) {
    *place = caller_owned(text.c_str(), text.size() + 1);
    if (bytes != nullptr) *bytes = text.size();
}

std::string json_text(const nlohmann::ordered_json& json) {
    // Names out of files may be no UTF-8.
    return json.dump(2, ' ', false, JsonObject::error_handler_t::replace);
}

MemberTexts::MemberTexts(const char* owner, const nlohmann::ordered_json& members) : owner_(owner) {
    for (const auto& [name, value] : members.items())
        texts_[name] = value.is_string() ? value.get<std::string>() : value.dump();
}

const char* MemberTexts::get(const char* name) const {
    if (const auto at = texts_.find(name); at != texts_.end()) return at->second.c_str();
    std::string known;
    for (const auto& [other, text] : texts_) known += (known.empty() ? "" : ", ") + other;
    throw RequestError(fmt::format("{} has no '{}'; it has {}", owner_, name, known));
}

}  // namespace hetune

hetune_model::hetune_model(hetune::Model the_model)
    : model(std::move(the_model)),
      info(hetune::json_text(hetune::members_of(model.info()))),
      values("ModelInfo", hetune::members_of(model.info())) {}

hetune_result::hetune_result(hetune::Generated the_generated)
    : generated(std::move(the_generated)), values("Generated", hetune::members_of(generated)) {
    for (const hetune::TokenLogprob& of : generated.logprobs) logprobs.push_back(of.logprob);
    for (const std::vector<hetune::TokenLogprob>& place : generated.top_logprobs) {
        Top& best = top.emplace_back();
        for (const hetune::TokenLogprob& of : place) {
            best.tokens.push_back(of.token);
            best.logprobs.push_back(of.logprob);
        }
    }
}
