#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "planner/plan/plan_text.h"
#include "runtime/api/hetune.h"
#include "runtime/api/model_host.h"

namespace hetune {

Model::Model(const std::string& path, ModelOptions options)
    : Model(std::make_shared<ModelHost>(path, std::move(options))) {}
Model::Model(std::shared_ptr<ModelHost> host) : host_(std::move(host)) {}

ModelHost& Model::host() const {
    if (host_ == nullptr) throw RequestError("this hetune::Model was moved from");
    return *host_;
}

const ModelInfo& Model::info() const { return host().info; }

Sequence Model::open() const {
    host();
    return Sequence(host_);
}

std::vector<int32_t> Model::tokenize(std::string_view text, bool parse_special, bool first) const {
    return host().text->tokenizer().encode_prompt(text, first, parse_special);
}
std::string Model::detokenize(std::span<const int32_t> tokens) const {
    return host().text->tokenizer().decode(tokens);
}

std::vector<int32_t> Model::render(const std::vector<Message>& conversation,
                                   const std::string& kwargs) const {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    for (const Message& message : conversation)
        messages.push_back({{"role", message.role}, {"content", message.content}});
    const ModelText& text = *host().text;
    const ChatTemplate& chat = text.chat_template();
    const Tokenizer& tokenizer = text.tokenizer();
    std::vector<int32_t> tokens;
    try {
        ChatOptions options;
        options.variables = chat_variables(kwargs);
        tokens = chat.encode(tokenizer, messages, options);
    } catch (const ModelError&) {
        throw;
    } catch (const std::runtime_error& error) {
        throw RequestError(error.what());  // of the messages, or of `kwargs`
    }
    if (tokens.empty()) throw RequestError("the chat template makes no text of these messages");
    return tokens;
}

bool Model::has_chat_template() const { return !host().text->chat_template().is_built_in(); }

std::string Model::plan(bool prefill, bool json) const {
    const ModelHost& model = host();
    if (!model.loaded) return {};
    const Arch& arch = model.loaded->device().arch();
    const Plan plan =
        model.loaded->plan_for(prefill ? prefill_step(model.loaded->options(), arch) : kDecodeStep);
    const int64_t context = model.info.context;
    return json ? plan_json(plan, arch, context).dump(2) : plan_text(plan, arch, context);
}

}  // namespace hetune
