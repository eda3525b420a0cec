#include "runtime/tokenizer/jinja/template.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/tokenizer/jinja/parser.h"

namespace hetune::jinja {
namespace {

template <class Work>
auto named(const std::string& name, Work work) {
    try {
        return work();
    } catch (const TemplateError& error) {
        std::string what = error.what();  // may be a text of the template (raise_exception)
        std::ranges::replace_if(
            what, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
        throw TemplateError(fmt::format("{}: {}", name, what));
    }
}

}  // namespace

Template::Template(std::string name, std::string_view source)
    : name_(std::move(name)), body_(named(name_, [&] { return parse(source); })) {}

std::string Template::render(const Value& variables) const {
    return named(name_, [&] {
        Rendering rendering;
        const auto scope = std::make_shared<Scope>(rendering, nullptr);
        Rendering::keep(scope);
        for (const auto& [key, value] : variables.dict()->entries)
            if (key.is_text()) scope->variables.insert_or_assign(key.as_text(), value);
        std::string out;
        run_body(body_, *scope, out);
        return out;
    });
}

std::string Template::render(const Json& variables) const {
    return render(named(name_, [&] {
        try {
            return Value::of_json(variables);
        } catch (const Fault& fault) {
            throw TemplateError(fmt::format("the variables: {}", fault.what()));
        }
    }));
}

}  // namespace hetune::jinja
