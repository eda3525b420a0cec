#include "tools/token_input.h"

#include <fmt/format.h>

#include <charconv>

#include "planner/file/read_file.h"
#include "tools/options.h"

namespace hetune {

std::vector<int32_t> parse_token_ids(const std::string& text, const std::string& option) {
    std::vector<int32_t> ids;
    std::string word;
    for (const char c : text + ' ') {
        if (std::string_view(" ,[]\t\r\n").find(c) == std::string_view::npos) {
            word += c;
            continue;
        }
        if (word.empty()) continue;
        int32_t id = 0;
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
        if (error != std::errc() || end != word.data() + word.size())
            throw std::runtime_error(fmt::format("{}: '{}' is no token id", option, word));
        ids.push_back(id);
        word.clear();
    }
    return ids;
}

OptionCheck token_ids() {
    return [](const std::string& text) -> std::string {
        try {
            for (const int32_t id : parse_token_ids(text, ""))
                if (id < 0) return fmt::format("{} is no token id", id);
        } catch (const std::runtime_error& error) {
            return std::string(error.what()).substr(2);  // behind ": "
        }
        return {};
    };
}

void TokenInput::add_to(CLI::App& app, bool required) {
    auto* source = app.add_option_group("tokens", "What to feed");
    source->add_option("--tokens", tokens, "token ids, as 1,2,3")->check(token_ids());
    source->add_option("--tokens-file", tokens_file, "file with token ids")->check(not_empty());
    source->add_option("--text", text, "text");
    source->add_option("--text-file", text_file, "file with text")->check(not_empty());
    source->require_option(required ? 1 : 0, 1);
}

std::vector<int32_t> TokenInput::read(const Model& model) const {
    std::vector<int32_t> ids;
    if (!tokens.empty())
        ids = parse_token_ids(tokens, "--tokens");
    else if (!tokens_file.empty())
        ids = parse_token_ids(read_file(tokens_file), tokens_file);
    else if (!text_file.empty())
        ids = model.tokenize(read_file(text_file));
    else if (!text.empty())
        ids = model.tokenize(text);
    else
        return {};
    if (ids.empty()) throw std::runtime_error("there is no token to feed");
    return ids;
}

void check_fits(const std::vector<int32_t>& tokens, const Model& model) {
    if (static_cast<int64_t>(tokens.size()) > model.info().context)
        throw std::runtime_error(
            fmt::format("the prompt has {} tokens, but the context holds {}; give --ctx {} (-c) or "
                        "more",
                        tokens.size(), model.info().context, tokens.size()));
}

}  // namespace hetune
