// Chat templates: parsed, and rendered with a conversation.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/text/jinja/lexer.h"
#include "runtime/text/jinja/template.h"
#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

const jinja::Json& variables() {
    static const jinja::Json json = jinja::Json::parse(R"({
 "messages": [{"role": "system", "content": "Be brief."},
  {"role": "user", "content": "Hi \u00fc\ud83d\ude00"},
  {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
   "function": {"name": "add", "arguments": {"a": 1, "b": [2.5, true, null]}}}]},
  {"role": "tool", "tool_call_id": "1", "content": "3"}, {"role": "user", "content": "ok"}],
 "tools": [{"type": "function", "function": {"name": "add", "description": "adds",
  "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}],
 "add_generation_prompt": true, "enable_thinking": false, "bos_token": "<s>", "eos_token": "</s>",
 "x": 5, "f": 2.5, "s": "Hello World", "none": null, "l": [3, 1, 2], "e": [], "d": {"b": 1}})");
    return json;
}

void run(std::string_view input) {
    may_throw<jinja::TemplateError>([&] { jinja::Template("fuzz", input).render(variables()); });
}

std::vector<std::string> seeds() {
    std::vector<std::string> list;
    const std::string models = HETUNE_TEST_MODELS;
    for (const auto& file : std::filesystem::directory_iterator(models + "/chat_templates"))
        if (file.path().extension() == ".jinja") list.push_back(file_content(file.path()));
    const auto cases = nlohmann::json::parse(file_content(models + "/jinja_cases.json"));
    for (const auto& one : cases.at("cases"))
        for (const char* name : {"template", "source", "text"})
            if (one.is_object() && one.contains(name)) list.push_back(one.at(name));
    return list;
}

const RegisterTarget kTarget({"jinja", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
