// hetune template: a chat template and its variables to the text that a model would be given.
#include <fmt/format.h>

#include <cstdio>

#include "planner/file/read_file.h"
#include "runtime/text/jinja/json_input.h"
#include "runtime/text/model_text.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/terminal.h"
#include "tools/token_input.h"

namespace hetune {
namespace {

struct Options {
    std::string file;
    std::string variables;
    std::string chat_template;
};

bool is_model(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    char magic[4] = {};
    const bool read = file != nullptr && std::fread(magic, 1, 4, file) == 4;
    if (file != nullptr) std::fclose(file);
    return read && std::string_view(magic, 4) == "GGUF";
}

jinja::Value variables_of(const std::string& path) {
    if (path.empty()) return jinja::Value::of(std::make_shared<jinja::Dict>());
    try {
        jinja::Value variables = jinja::parse_json(read_file(path));
        if (variables.is_dict()) return variables;
    } catch (const jinja::Fault& fault) {
        throw std::runtime_error(fmt::format("--variables {}: {}", path, fault.what()));
    } catch (const std::runtime_error& error) {
        const std::string what = error.what();
        if (what.find(path) != std::string::npos) throw;
        throw std::runtime_error(fmt::format("--variables {}: {}", path, what));
    }
    throw std::runtime_error(
        fmt::format("--variables {}: holds no JSON object, such as {{\"messages\": []}}", path));
}

std::string rendering(const Options& options) {
    const jinja::Value variables = variables_of(options.variables);
    if (!is_model(options.file)) {
        if (!options.chat_template.empty())
            throw std::runtime_error("--chat-template goes with a model, not with a template file");
        return jinja::Template(options.file, read_file(options.file)).render(variables);
    }
    const ModelFile file(options.file, ModelFile::Open::kHeaderOnly);
    const ModelText text(file, {.chat = {.source = options.chat_template}});
    return text.chat_template().render_variables(variables);
}

const RegisterCommand kTemplate{
    "template", "Renders a chat template, as run does for a conversation", [](CLI::App& app) {
        auto options = std::make_shared<Options>();
        app.add_option("file", options->file, "Jinja file, or model file (its header will do)")
            ->check(not_empty())
            ->required();
        app.add_option("--variables", options->variables,
                       "JSON file with an object: messages, add_generation_prompt, tools, ...")
            ->check(not_empty());
        app.add_option("--chat-template", options->chat_template,
                       "of a model: instead of its own, a Jinja file or a name, as for run")
            ->check(not_empty());
        app.footer("Example: hetune template model.gguf --variables chat.json");
        return [options] {
            const std::string text = rendering(*options);
            write_result(text);
            return 0;
        };
    }};

}  // namespace
}  // namespace hetune
