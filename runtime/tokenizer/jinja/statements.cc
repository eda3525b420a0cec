// Execution of the statement nodes of ast.h.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/tokenizer/jinja/ast.h"

namespace hetune::jinja {

Flow Statement::run(Scope& scope, std::string& out) const {
    try {
        if (--scope.rendering.steps_left < 0) throw Fault("the template runs without end");
        return execute(scope, out);
    } catch (const Fault& fault) {
        throw TemplateError(line_, construct(), fault.what());
    }
}

Flow run_body(const Body& body, Scope& scope, std::string& out) {
    for (const StatementPtr& statement : body)
        if (const Flow flow = statement->run(scope, out); flow != Flow::kNext) return flow;
    return Flow::kNext;
}

void Target::assign(Scope& scope, const Value& value) const {
    if (!attribute.empty()) {
        Namespace* space = scope.find(names[0]).as_namespace();
        if (space == nullptr) throw Fault(fmt::format("'{}' is no namespace", names[0]));
        if (value.as_namespace() != nullptr) throw Fault("a namespace cannot hold a namespace");
        (*space)[attribute] = value;
        return;
    }
    if (!unpacks) {
        scope.variables.insert_or_assign(names[0], value);
        return;
    }
    const std::vector<Value> parts = value.items();
    if (parts.size() != names.size())
        throw Fault(
            fmt::format("cannot unpack {} values into {} names", parts.size(), names.size()));
    for (size_t i = 0; i < names.size(); ++i) scope.variables.insert_or_assign(names[i], parts[i]);
}

namespace {

class Text : public Statement {
  public:
    Text(int line, std::string text) : Statement(line), text_(std::move(text)) {}
    Flow execute(Scope&, std::string& out) const override {
        if (out.size() > Value::kMaxTextBytes) throw Fault("the output has more than 64 MiB");
        out += text_;
        return Flow::kNext;
    }
    std::string construct() const override { return "text"; }

  private:
    std::string text_;
};

class Output : public Statement {
  public:
    Output(int line, ExpressionPtr value) : Statement(line), value_(std::move(value)) {}
    Flow execute(Scope& scope, std::string& out) const override {
        if (out.size() > Value::kMaxTextBytes) throw Fault("the output has more than 64 MiB");
        out += value_->eval(scope).print();
        return Flow::kNext;
    }
    std::string construct() const override { return "output"; }

  private:
    ExpressionPtr value_;
};

class If : public Statement {
  public:
    If(int line, std::vector<Branch> branches) : Statement(line), branches_(std::move(branches)) {}
    Flow execute(Scope& scope, std::string& out) const override {
        for (const Branch& branch : branches_)
            if (branch.condition == nullptr || branch.condition->eval(scope).truthy())
                return run_body(branch.body, scope, out);
        return Flow::kNext;
    }
    std::string construct() const override { return "if"; }

  private:
    std::vector<Branch> branches_;
};

class For : public Statement {
  public:
    For(int line, Loop loop) : Statement(line), loop_(std::move(loop)) {}
    Flow execute(Scope& scope, std::string& out) const override {
        std::vector<Value> items = loop_.items->eval(scope).items();
        scope.rendering.steps_left -= static_cast<int64_t>(items.size());
        if (loop_.condition != nullptr)
            std::erase_if(items, [&](const Value& item) {
                Scope inner{scope.rendering, &scope};
                loop_.target.assign(inner, item);
                return !loop_.condition->eval(inner).truthy();
            });
        for (size_t i = 0; i < items.size(); ++i) {
            Scope inner{scope.rendering, &scope};
            loop_.target.assign(inner, items[i]);
            inner.variables.insert_or_assign("loop", position(items, i));
            if (run_body(loop_.body, inner, out) == Flow::kBreak) break;
        }
        return items.empty() ? run_body(loop_.otherwise, scope, out) : Flow::kNext;
    }
    std::string construct() const override { return "for"; }

  private:
    static Value position(const std::vector<Value>& items, size_t i) {
        auto loop = std::make_shared<Namespace>();
        const auto set = [&](const char* name, auto value) {
            loop->emplace(name, Value::of(Json(value)));
        };
        set("index", i + 1);
        set("index0", i);
        set("revindex", items.size() - i);
        set("revindex0", items.size() - i - 1);
        set("first", i == 0);
        set("last", i + 1 == items.size());
        set("length", items.size());
        if (i > 0) loop->emplace("previtem", items[i - 1]);
        if (i + 1 < items.size()) loop->emplace("nextitem", items[i + 1]);
        return Value::of(std::move(loop));
    }
    Loop loop_;
};

class Jump : public Statement {
  public:
    Jump(int line, Flow flow) : Statement(line), flow_(flow) {}
    Flow execute(Scope&, std::string&) const override { return flow_; }
    std::string construct() const override { return "break"; }

  private:
    Flow flow_;
};

class Set : public Statement {
  public:
    Set(int line, Target target, ExpressionPtr value)
        : Statement(line), target_(std::move(target)), value_(std::move(value)) {}
    Flow execute(Scope& scope, std::string&) const override {
        target_.assign(scope, value_->eval(scope));
        return Flow::kNext;
    }
    std::string construct() const override { return "set"; }

  private:
    Target target_;
    ExpressionPtr value_;
};

class SetBlock : public Statement {
  public:
    SetBlock(int line, Target target, Body body, std::vector<FilterCall> filters)
        : Statement(line),
          target_(std::move(target)),
          body_(std::move(body)),
          filters_(std::move(filters)) {}
    Flow execute(Scope& scope, std::string&) const override {
        std::string text;
        Scope inner{scope.rendering, &scope};
        run_body(body_, inner, text);
        Value value = Value::text(std::move(text));
        for (const auto& [filter, arguments] : filters_)
            value = filter(value, arguments.eval(scope));
        target_.assign(scope, value);
        return Flow::kNext;
    }
    std::string construct() const override { return "set"; }

  private:
    Target target_;
    Body body_;
    std::vector<FilterCall> filters_;
};

class Macro : public Statement {
  public:
    Macro(int line, MacroDefinition macro) : Statement(line), macro_(std::move(macro)) {}
    Flow execute(Scope& scope, std::string&) const override {
        // Values that hold the function end with the scopes, and those before the nodes.
        scope.variables.insert_or_assign(
            macro_.name, Value::of(Function([this, &top = scope.top()](const Arguments& arguments) {
                return call(top, arguments);
            })));
        return Flow::kNext;
    }
    std::string construct() const override { return fmt::format("macro '{}'", macro_.name); }

  private:
    Value call(Scope& top, const Arguments& arguments) const {
        arguments.at_most(macro_.parameters.size());
        for (const auto& [name, value] : arguments.named)
            if (std::ranges::find(macro_.parameters, name) == macro_.parameters.end())
                throw Fault(fmt::format("has no parameter '{}'", name));
        Rendering& rendering = top.rendering;
        if (rendering.call_depth >= Rendering::kMaxCallDepth) throw Fault("macros nest too deeply");
        struct Depth {
            int& value;
            explicit Depth(int& v) : value(v) { ++value; }
            ~Depth() { --value; }
        } depth(rendering.call_depth);

        Scope inner{rendering, &top};
        for (size_t i = 0; i < macro_.parameters.size(); ++i) {
            const std::string& name = macro_.parameters[i];
            const Value* given = arguments.find(i, name);
            Value value = given != nullptr                ? *given
                          : macro_.defaults[i] != nullptr ? macro_.defaults[i]->eval(inner)
                                                          : Value::undefined(name);
            inner.variables.insert_or_assign(name, std::move(value));
        }
        std::string text;
        run_body(macro_.body, inner, text);
        return Value::text(std::move(text));
    }
    MacroDefinition macro_;
};

}  // namespace

StatementPtr make_text(int line, std::string text) {
    return std::make_unique<Text>(line, std::move(text));
}
StatementPtr make_output(int line, ExpressionPtr value) {
    return std::make_unique<Output>(line, std::move(value));
}
StatementPtr make_if(int line, std::vector<Branch> branches) {
    return std::make_unique<If>(line, std::move(branches));
}
StatementPtr make_for(int line, Loop loop) { return std::make_unique<For>(line, std::move(loop)); }
StatementPtr make_jump(int line, Flow flow) { return std::make_unique<Jump>(line, flow); }
StatementPtr make_set(int line, Target target, ExpressionPtr value) {
    return std::make_unique<Set>(line, std::move(target), std::move(value));
}
StatementPtr make_set_block(int line, Target target, Body body, std::vector<FilterCall> filters) {
    return std::make_unique<SetBlock>(line, std::move(target), std::move(body), std::move(filters));
}
StatementPtr make_macro(int line, MacroDefinition macro) {
    return std::make_unique<Macro>(line, std::move(macro));
}

}  // namespace hetune::jinja
