// Variables of chat templates: a conversation as JSON, given to templates that models have.
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cache/error.h"
#include "cache/json_text.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/jinja/lexer.h"
#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

const std::deque<jinja::Template>& templates() {
    static const auto list = [] {
        std::deque<jinja::Template> all;
        for (const auto& file :
             std::filesystem::directory_iterator(HETUNE_TEST_MODELS "/chat_templates"))
            if (file.path().extension() == ".jinja")
                all.emplace_back(file.path().filename(), file_content(file.path()));
        return all;
    }();
    return list;
}

void run(std::string_view input) {
    Json variables;
    bool parsed = false;
    may_throw<CacheError>([&] {
        variables = parse_json(input);
        parsed = true;
    });
    if (!parsed || !variables.is_object()) return;
    for (const jinja::Template& one : templates())
        may_throw<jinja::TemplateError>([&] { one.render(variables); });
    if (variables.contains("messages"))
        may_throw<std::runtime_error>([&] { render_chat(variables["messages"], true); });
}

std::vector<std::string> seeds() {
    std::vector<std::string> list;
    const Json cases = Json::parse(file_content(HETUNE_TEST_MODELS "/chat_templates/cases.json"));
    for (const Json& one : cases) {
        Json variables = Json::object();
        for (const char* name : {"messages", "tools", "add_generation_prompt", "enable_thinking"})
            if (one.is_object() && one.contains(name)) variables[name] = one[name];
        if (!variables.empty()) list.push_back(variables.dump());
    }
    list.push_back(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
 "tools": [{"type": "function", "function": {"name": "f"}}], "add_generation_prompt": true})");
    return list;
}

const RegisterTarget kTarget({"chat", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
