#include "runtime/tokenizer/jinja/template.h"

#include <fmt/format.h>

#include "runtime/tokenizer/jinja/parser.h"

namespace hetune::jinja {
namespace {

template <class Work>
auto named(const std::string& name, Work work) {
    try {
        return work();
    } catch (const TemplateError& error) {
        throw TemplateError(fmt::format("{}: {}", name, error.what()));
    }
}

}  // namespace

Template::Template(std::string name, std::string_view source)
    : name_(std::move(name)), body_(named(name_, [&] { return parse(source); })) {}

std::string Template::render(const Json& variables) const {
    return named(name_, [&] {
        try {
            int64_t left = kMaxElements;
            check_size(variables, left);
        } catch (const Fault& fault) {
            throw TemplateError(fmt::format("the variables: {}", fault.what()));
        }
        Rendering rendering;
        Scope scope{rendering};
        for (const auto& entry : variables.items())
            scope.variables.insert_or_assign(entry.key(), Value::of(Json(entry.value())));
        std::string out;
        run_body(body_, scope, out);
        return out;
    });
}

}  // namespace hetune::jinja
