// A parsed template. Nodes evaluate themselves within a scope.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/lexer.h"
#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

// The variables of a loop body, a macro call or the template itself. Lives as long as a macro that
// was defined in it.
struct Scope : Object, std::enable_shared_from_this<Scope> {
    Scope(Rendering& the_rendering, std::shared_ptr<Scope> the_parent)
        : rendering(the_rendering), parent(std::move(the_parent)) {}
    static std::shared_ptr<Scope> within(Scope& parent) {
        return std::make_shared<Scope>(parent.rendering, parent.shared_from_this());
    }
    std::string type() const override { return "scope"; }
    void clear() override { variables.clear(); }

    Value find(const std::string& name) const;  // then among the globals, then undefined
    Scope& top() { return parent == nullptr ? *this : parent->top(); }

    Rendering& rendering;
    std::shared_ptr<Scope> parent;
    std::map<std::string, Value, std::less<>> variables = {};
};

class Expression {
  public:
    explicit Expression(int line) : line_(line) {}
    virtual ~Expression() = default;
    // Throws TemplateError with the line and construct of the innermost node that failed.
    Value eval(Scope& scope) const;
    virtual std::string construct() const { return "expression"; }
    virtual bool is_call() const { return false; }
    // For the call of a {% call %} block: evaluates it with one more argument. None: no call.
    virtual std::optional<Value> call_with(Scope&, const std::string&, const Value&) const {
        return {};
    }

  protected:
    int line() const { return line_; }
    virtual Value compute(Scope& scope) const = 0;

  private:
    int line_;
};
using ExpressionPtr = std::unique_ptr<Expression>;

enum class Flow { kNext, kBreak, kContinue };

class Statement {
  public:
    explicit Statement(int line) : line_(line) {}
    virtual ~Statement() = default;
    Flow run(Scope& scope, std::string& out) const;  // throws TemplateError
    virtual std::string construct() const = 0;

  protected:
    virtual Flow execute(Scope& scope, std::string& out) const = 0;

  private:
    int line_;
};
using Body = std::vector<std::unique_ptr<Statement>>;
Flow run_body(const Body& body, Scope& scope, std::string& out);

// Arguments of a call, filter or test: f(1, *list, a=2, **dict).
struct ArgumentList {
    std::vector<ExpressionPtr> positional;
    std::vector<std::pair<std::string, ExpressionPtr>> named;
    ExpressionPtr more_positional;  // nullptr: none
    ExpressionPtr more_named;
    Arguments eval(Scope& scope) const;
};

// What an assignment writes to: a name, an attribute of a namespace, or several targets.
struct Target {
    std::string name;
    std::string attribute;      // of the namespace `name`
    std::vector<Target> parts;  // of what is unpacked
    bool unpacks = false;       // into `parts`
    void assign(Scope& scope, const Value& value) const;
};

// A filter by name; `filter` is nullptr where there is none, which is an error once it runs.
struct FilterCall {
    std::string name;
    Filter filter;
    ArgumentList arguments;
    Value apply(const Value& input, Scope& scope) const;
};

// Makers of the nodes; the parser knows no more of them.
ExpressionPtr make_constant(int line, Value value);
ExpressionPtr make_name(int line, std::string name);
ExpressionPtr make_list(int line, std::vector<ExpressionPtr> elements);
ExpressionPtr make_tuple(int line, std::vector<ExpressionPtr> elements);
ExpressionPtr make_dict(int line, std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries);
ExpressionPtr make_attribute(int line, ExpressionPtr object, std::string name);
ExpressionPtr make_item(int line, ExpressionPtr object, ExpressionPtr key);
// Parts that are left out are nullptr.
ExpressionPtr make_slice(int line, ExpressionPtr object, ExpressionPtr from, ExpressionPtr to,
                         ExpressionPtr step);
ExpressionPtr make_call(int line, ExpressionPtr function, ArgumentList arguments);
ExpressionPtr make_filter(int line, FilterCall call, ExpressionPtr input);
// `test` is nullptr where there is none.
ExpressionPtr make_test(int line, std::string name, Test test, bool negated, ExpressionPtr input,
                        ArgumentList arguments);
// `op`: "-", "+" or "not".
ExpressionPtr make_unary(int line, std::string op, ExpressionPtr operand);
// `op`: one of operators.h, "and" or "or".
ExpressionPtr make_binary(int line, std::string op, ExpressionPtr left, ExpressionPtr right);
// a < b <= c: operands.size() == ops.size() + 1; also "in" and "not in".
ExpressionPtr make_comparison(int line, std::vector<std::string> ops,
                              std::vector<ExpressionPtr> operands);
// `otherwise` may be nullptr: undefined.
ExpressionPtr make_ternary(int line, ExpressionPtr condition, ExpressionPtr then,
                           ExpressionPtr otherwise);

using StatementPtr = std::unique_ptr<Statement>;
StatementPtr make_text(int line, std::string text);
StatementPtr make_output(int line, ExpressionPtr value);
struct Branch {
    ExpressionPtr condition;  // nullptr: else
    Body body;
};
StatementPtr make_if(int line, std::vector<Branch> branches);
struct Loop {
    Target target;
    ExpressionPtr items;
    ExpressionPtr condition;  // nullptr: none
    Body body;
    Body otherwise;  // when there was nothing to loop over
    bool recursive = false;
};
StatementPtr make_for(int line, Loop loop);
StatementPtr make_jump(int line, Flow flow);
StatementPtr make_set(int line, Target target, ExpressionPtr value);
StatementPtr make_set_block(int line, Target target, Body body, std::vector<FilterCall> filters);
struct MacroDefinition {
    std::string name;
    std::vector<std::string> parameters;
    std::vector<ExpressionPtr> defaults;  // per parameter; nullptr: undefined
    Body body;
    bool takes_positional = false;  // more than its parameters, as varargs
    bool takes_named = false;       // others than its parameters, as kwargs
    bool takes_caller = false;      // the body of a {% call %} block
};
// A macro sees its arguments and the variables of where it stands.
StatementPtr make_macro(int line, MacroDefinition macro);
// `call` is called with the body of the block as the function `caller`.
StatementPtr make_call_block(int line, ExpressionPtr call, MacroDefinition caller);
StatementPtr make_filter_block(int line, std::vector<FilterCall> filters, Body body);
// Variables for the body alone; without any, it is a scope of its own. `from_top`: the body sees
// the variables of the template's top level and no others, as a block does.
StatementPtr make_with(int line, std::vector<std::pair<Target, ExpressionPtr>> variables, Body body,
                       bool from_top = false);
StatementPtr make_autoescape(int line, ExpressionPtr on, Body body);
// A tag that loads another template, which is an error once it runs.
StatementPtr make_loader(int line, std::string tag);

}  // namespace hetune::jinja
