// Execution of the statement nodes of ast.h.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/ast.h"
#include "runtime/text/jinja/comparison.h"
#include "runtime/text/jinja/text.h"

namespace hetune::jinja {

Flow Statement::run(Scope& scope, std::string& out) const {
    try {
        Rendering::count_steps(1);
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
        const Value target = scope.find(name);
        auto* space = dynamic_cast<Namespace*>(target.object());
        if (space == nullptr) throw Fault(fmt::format("'{}' is no namespace", name));
        space->values.set(Value::text(attribute), value);
        return;
    }
    if (!unpacks) {
        scope.variables.insert_or_assign(name, value);
        return;
    }
    value.need_defined();
    const std::vector<Value> values = value.items();
    if (values.size() != parts.size())
        throw Fault(
            fmt::format("cannot unpack {} values into {} names", values.size(), parts.size()));
    for (size_t i = 0; i < parts.size(); ++i) parts[i].assign(scope, values[i]);
}

namespace {

class TextNode : public Statement {
  public:
    TextNode(int line, std::string text) : Statement(line), text_(std::move(text)) {}
    Flow execute(Scope&, std::string& out) const override {
        if (out.size() > kMaxTextBytes) throw Fault("the output has more than 64 MiB");
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
        if (out.size() > kMaxTextBytes) throw Fault("the output has more than 64 MiB");
        const Value value = value_->eval(scope);
        const bool escapes = scope.rendering.autoescape && !value.is_safe();
        out += escapes ? escape_html(value.print()) : value.print();
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

// What a loop's body sees as `loop`.
class LoopObject : public Object, public std::enable_shared_from_this<LoopObject> {
  public:
    using Again = std::function<Value(const Value& items, int depth)>;
    LoopObject(std::vector<Value> items, int depth, Again again)
        : items_(std::move(items)), depth_(depth), again_(std::move(again)) {}

    std::string type() const override { return "jinja2.runtime.LoopContext"; }
    std::string print(int) const override {
        return fmt::format("<LoopContext {}/{}>", at + 1, items_.size());
    }
    bool is_callable() const override { return true; }
    Value call(const Arguments& arguments) override {
        arguments.check({"iterable"});
        if (!again_) throw Fault("only a loop marked as recursive can be called");
        return again_(arguments.need(0, "iterable"), depth_ + 1);
    }
    std::optional<Value> attribute(std::string_view name) override {
        if (name == "index") return Value::of(at + 1);
        if (name == "index0") return Value::of(at);
        if (name == "revindex") return Value::of(items_.size() - at);
        if (name == "revindex0") return Value::of(items_.size() - at - 1);
        if (name == "first") return Value::of(at == 0);
        if (name == "last") return Value::of(at + 1 == items_.size());
        if (name == "length") return Value::of(items_.size());
        if (name == "depth") return Value::of(depth_ + 1);
        if (name == "depth0") return Value::of(depth_);
        if (name == "previtem")
            return at > 0 ? items_[at - 1] : Value::undefined("there is no previous item");
        if (name == "nextitem")
            return at + 1 < items_.size() ? items_[at + 1]
                                          : Value::undefined("there is no next item");
        if (name == "cycle")
            return Value::function("cycle", [self = shared_from_this()](const Arguments& given) {
                if (given.positional.empty()) throw Fault("no items for cycling given");
                return given.positional[self->at % given.positional.size()];
            });
        if (name == "changed")
            return Value::function("changed", [self = shared_from_this()](const Arguments& given) {
                Value now = Value::tuple(given.positional);
                const bool changed = !self->last_ || !equal(*self->last_, now);
                self->last_ = std::move(now);
                return Value::of(changed);
            });
        return {};
    }
    void clear() override {
        items_.clear();
        last_.reset();
        again_ = nullptr;
    }
    const std::vector<Value>& items() const { return items_; }

    size_t at = 0;

  private:
    std::vector<Value> items_;
    int depth_;
    Again again_;
    std::optional<Value> last_;  // of changed()
};

class For : public Statement {
  public:
    For(int line, Loop loop) : Statement(line), loop_(std::move(loop)) {}
    Flow execute(Scope& scope, std::string& out) const override {
        return walk(scope, loop_.items->eval(scope), 0, out);
    }
    std::string construct() const override { return "for"; }

  private:
    Flow walk(Scope& scope, const Value& iterable, int depth, std::string& out) const {
        std::vector<Value> items = iterable.items();
        Rendering::count_steps(static_cast<int64_t>(items.size()));
        if (loop_.condition != nullptr)
            std::erase_if(items, [&](const Value& item) {
                const auto inner = Scope::within(scope);
                loop_.target.assign(*inner, item);
                return !loop_.condition->eval(*inner).truthy();
            });
        LoopObject::Again again;
        if (loop_.recursive)
            again = [this, outer = scope.shared_from_this()](const Value& more, int next_depth) {
                const CallDepth level(outer->rendering);
                std::string text;
                walk(*outer, more, next_depth, text);
                return Value::text(std::move(text));
            };
        const auto position = std::make_shared<LoopObject>(std::move(items), depth, again);
        // A body can keep it, in a namespace that one of its items refers to.
        Rendering::keep(position);
        if (position->items().empty()) {
            const auto inner = Scope::within(scope);
            return run_body(loop_.otherwise, *inner, out);
        }
        const Value loop = Value::of(std::shared_ptr<Object>(position));
        for (size_t i = 0; i < position->items().size(); ++i) {
            position->at = i;
            const auto inner = Scope::within(scope);
            inner->variables.insert_or_assign("loop", loop);
            loop_.target.assign(*inner, position->items()[i]);
            if (run_body(loop_.body, *inner, out) == Flow::kBreak) break;
        }
        return Flow::kNext;
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

Value filtered(std::string text, const std::vector<FilterCall>& filters, Scope& scope) {
    Value value = Value::text(std::move(text), scope.rendering.autoescape);
    for (const FilterCall& filter : filters) value = filter.apply(value, scope);
    return value;
}

class SetBlock : public Statement {
  public:
    SetBlock(int line, Target target, Body body, std::vector<FilterCall> filters)
        : Statement(line),
          target_(std::move(target)),
          body_(std::move(body)),
          filters_(std::move(filters)) {}
    Flow execute(Scope& scope, std::string&) const override {
        std::string text;
        const Flow flow = run_body(body_, *Scope::within(scope), text);
        if (flow == Flow::kNext) target_.assign(scope, filtered(std::move(text), filters_, scope));
        return flow;
    }
    std::string construct() const override { return "set"; }

  private:
    Target target_;
    Body body_;
    std::vector<FilterCall> filters_;
};

class FilterBlock : public Statement {
  public:
    FilterBlock(int line, std::vector<FilterCall> filters, Body body)
        : Statement(line), filters_(std::move(filters)), body_(std::move(body)) {}
    Flow execute(Scope& scope, std::string& out) const override {
        std::string text;
        const Flow flow = run_body(body_, *Scope::within(scope), text);
        if (flow == Flow::kNext) out += filtered(std::move(text), filters_, scope).print();
        return flow;
    }
    std::string construct() const override { return "filter"; }

  private:
    std::vector<FilterCall> filters_;
    Body body_;
};

class With : public Statement {
  public:
    using Variables = std::vector<std::pair<Target, ExpressionPtr>>;
    With(int line, Variables variables, Body body, bool from_top)
        : Statement(line),
          variables_(std::move(variables)),
          body_(std::move(body)),
          from_top_(from_top) {}
    Flow execute(Scope& scope, std::string& out) const override {
        const auto inner = Scope::within(from_top_ ? scope.top() : scope);
        for (const auto& [target, value] : variables_) target.assign(*inner, value->eval(scope));
        return run_body(body_, *inner, out);
    }
    std::string construct() const override { return "with"; }

  private:
    Variables variables_;
    Body body_;
    bool from_top_;
};

class Autoescape : public Statement {
  public:
    Autoescape(int line, ExpressionPtr on, Body body)
        : Statement(line), on_(std::move(on)), body_(std::move(body)) {}
    Flow execute(Scope& scope, std::string& out) const override {
        bool& escapes = scope.rendering.autoescape;
        const bool before = std::exchange(escapes, on_->eval(scope).truthy());
        const Flow flow = run_body(body_, *Scope::within(scope), out);
        escapes = before;
        return flow;
    }
    std::string construct() const override { return "autoescape"; }

  private:
    ExpressionPtr on_;
    Body body_;
};

class Loader : public Statement {
  public:
    Loader(int line, std::string tag) : Statement(line), tag_(std::move(tag)) {}
    Flow execute(Scope&, std::string&) const override {
        throw Fault("a chat template cannot load another template");
    }
    std::string construct() const override { return tag_; }

  private:
    std::string tag_;
};

class MacroObject : public Object {
  public:
    MacroObject(const MacroDefinition& macro, std::shared_ptr<Scope> scope)
        : macro_(macro), scope_(std::move(scope)) {}
    std::string type() const override { return "jinja2.runtime.Macro"; }
    std::string print(int) const override { return fmt::format("<Macro '{}'>", macro_.name); }
    bool is_callable() const override { return true; }
    void clear() override { scope_.reset(); }
    std::optional<Value> attribute(std::string_view name) override {
        if (name == "name") return Value::text(macro_.name);
        if (name == "catch_kwargs") return Value::of(macro_.takes_named);
        if (name == "catch_varargs") return Value::of(macro_.takes_positional);
        if (name == "caller") return Value::of(macro_.takes_caller);
        if (name != "arguments") return {};
        std::vector<Value> names;
        for (const std::string& parameter : macro_.parameters)
            names.push_back(Value::text(parameter));
        return Value::tuple(std::move(names));
    }
    Value call(const Arguments& arguments) override {
        const CallDepth level(scope_->rendering);
        const auto inner = Scope::within(*scope_);
        bind(arguments, *inner);
        std::string text;
        run_body(macro_.body, *inner, text);
        return Value::text(std::move(text), scope_->rendering.autoescape);
    }

  private:
    void bind(const Arguments& arguments, Scope& inner) const {
        const auto& parameters = macro_.parameters;
        const auto set = [&](const std::string& name, Value value) {
            inner.variables.insert_or_assign(name, std::move(value));
        };
        if (macro_.takes_caller) set("caller", Value::undefined("No caller defined"));
        auto others = std::make_shared<Dict>();
        for (const auto& [name, value] : arguments.named) {
            if (std::ranges::find(parameters, name) != parameters.end()) continue;
            if (name == "caller" && macro_.takes_caller)
                set(name, value);
            else if (macro_.takes_named)
                others->set(Value::text(name), value);
            else
                throw Fault(fmt::format("has no parameter '{}'", name));
        }
        if (macro_.takes_named) set("kwargs", Value::of(std::move(others)));
        std::vector<Value> more;
        for (size_t i = parameters.size(); i < arguments.positional.size(); ++i)
            more.push_back(arguments.positional[i]);
        if (!more.empty() && !macro_.takes_positional)
            throw Fault(fmt::format("takes at most {} arguments, not {}", parameters.size(),
                                    arguments.positional.size()));
        if (macro_.takes_positional) set("varargs", Value::tuple(std::move(more)));
        for (size_t i = 0; i < parameters.size(); ++i) {
            const std::string& name = parameters[i];
            const Value* given = arguments.find(i, name);
            set(name, given != nullptr ? *given
                      : macro_.defaults[i] != nullptr
                          ? macro_.defaults[i]->eval(inner)
                          : Value::undefined(fmt::format("parameter '{}' was not provided", name)));
        }
    }
    const MacroDefinition& macro_;
    std::shared_ptr<Scope> scope_;
};

Value macro_value(const MacroDefinition& macro, Scope& scope) {
    auto made = std::make_shared<MacroObject>(macro, scope.shared_from_this());
    Rendering::keep(scope.shared_from_this());  // which may hold the macro that holds it
    Rendering::keep(made);
    return Value::of(std::shared_ptr<Object>(std::move(made)));
}

class Macro : public Statement {
  public:
    Macro(int line, MacroDefinition macro) : Statement(line), macro_(std::move(macro)) {}
    Flow execute(Scope& scope, std::string&) const override {
        scope.variables.insert_or_assign(macro_.name, macro_value(macro_, scope));
        return Flow::kNext;
    }
    std::string construct() const override { return fmt::format("macro '{}'", macro_.name); }

  private:
    MacroDefinition macro_;
};

class CallBlock : public Statement {
  public:
    CallBlock(int line, ExpressionPtr call, MacroDefinition caller)
        : Statement(line), call_(std::move(call)), caller_(std::move(caller)) {}
    Flow execute(Scope& scope, std::string& out) const override {
        const auto made = call_->call_with(scope, "caller", macro_value(caller_, scope));
        if (!made) throw Fault("needs a call");
        out += made->print();
        return Flow::kNext;
    }
    std::string construct() const override { return "call"; }

  private:
    ExpressionPtr call_;
    MacroDefinition caller_;
};

}  // namespace

StatementPtr make_text(int line, std::string text) {
    return std::make_unique<TextNode>(line, std::move(text));
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

StatementPtr make_call_block(int line, ExpressionPtr call, MacroDefinition caller) {
    return std::make_unique<CallBlock>(line, std::move(call), std::move(caller));
}
StatementPtr make_filter_block(int line, std::vector<FilterCall> filters, Body body) {
    return std::make_unique<FilterBlock>(line, std::move(filters), std::move(body));
}
StatementPtr make_with(int line, std::vector<std::pair<Target, ExpressionPtr>> variables, Body body,
                       bool from_top) {
    return std::make_unique<With>(line, std::move(variables), std::move(body), from_top);
}
StatementPtr make_autoescape(int line, ExpressionPtr on, Body body) {
    return std::make_unique<Autoescape>(line, std::move(on), std::move(body));
}
StatementPtr make_loader(int line, std::string tag) {
    return std::make_unique<Loader>(line, std::move(tag));
}

}  // namespace hetune::jinja
