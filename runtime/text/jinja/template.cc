#include "runtime/text/jinja/template.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/rendering.h"

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

// `self`: self.NAME() gives the text of a block. Lives no longer than the rendering's scope.
class TemplateReference : public Object {
  public:
    using Blocks = std::map<std::string, const Statement*, std::less<>>;
    TemplateReference(const Blocks& blocks, Scope& top) : blocks_(blocks), top_(top) {}
    std::string type() const override { return "TemplateReference"; }
    std::string print(int) const override { return "<TemplateReference None>"; }
    std::optional<Value> attribute(std::string_view name) override {
        const auto found = blocks_.find(name);
        if (found == blocks_.end()) return {};
        return Value::function("BlockReference",
                               [block = found->second, &top = top_](const Arguments& arguments) {
                                   arguments.check({});
                                   const CallDepth level(top.rendering);
                                   std::string text;
                                   block->run(top, text);
                                   return Value::text(std::move(text), top.rendering.autoescape);
                               });
    }

  private:
    const Blocks& blocks_;
    Scope& top_;
};

}  // namespace

Template::Template(std::string name, std::string_view source)
    : name_(std::move(name)), parsed_(named(name_, [&] { return parse(source); })) {}

std::string Template::render(const Value& variables) const {
    return named(name_, [&] {
        Rendering rendering;
        const auto scope = std::make_shared<Scope>(rendering, nullptr);
        Rendering::keep(scope);
        for (const auto& [key, value] : variables.dict()->entries)
            if (key.is_text()) scope->variables.insert_or_assign(key.as_text(), value);
        scope->variables.insert_or_assign(
            "self", Value::of(std::shared_ptr<Object>(
                        std::make_shared<TemplateReference>(parsed_.blocks, *scope))));
        std::string out;
        run_body(parsed_.body, *scope, out);
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
