// A parsed template. Nodes evaluate themselves within a scope.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/tokenizer/jinja/builtins.h"
#include "runtime/tokenizer/jinja/lexer.h"
#include "runtime/tokenizer/jinja/value.h"

namespace hetune::jinja {

// One rendering. Its limits turn a template that runs away into an error.
struct Rendering {
    // Statements and loop items; a chat of 1000 messages takes some 20 000.
    int64_t steps_left = 500'000;
    int call_depth = 0;  // of macros
    static constexpr int kMaxCallDepth = 100;
};

// The variables of a loop body, a macro call or the template itself.
struct Scope {
    Rendering& rendering;
    Scope* parent = nullptr;
    std::map<std::string, Value, std::less<>> variables = {};

    Value find(const std::string& name) const;  // then among the globals, then undefined
    Scope& top() { return parent == nullptr ? *this : parent->top(); }
};

class Expression {
  public:
    explicit Expression(int line) : line_(line) {}
    virtual ~Expression() = default;
    // Throws TemplateError with the line and construct of the innermost node that failed.
    Value eval(Scope& scope) const;
    virtual std::string construct() const { return "expression"; }

  protected:
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

// Positional and name=value arguments of a call, filter or test.
struct ArgumentList {
    std::vector<ExpressionPtr> positional;
    std::vector<std::pair<std::string, ExpressionPtr>> named;
    Arguments eval(Scope& scope) const;
};

// What an assignment writes to: names, or one attribute of a namespace.
struct Target {
    std::vector<std::string> names;
    std::string attribute;  // of names[0]
    bool unpacks = false;   // more than one name, or a comma
    void assign(Scope& scope, const Value& value) const;
};

// Makers of the nodes; the parser knows no more of them.
ExpressionPtr make_constant(int line, Value value);
ExpressionPtr make_name(int line, std::string name);
ExpressionPtr make_list(int line, std::vector<ExpressionPtr> elements);
ExpressionPtr make_dict(int line, std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries);
ExpressionPtr make_attribute(int line, ExpressionPtr object, std::string name);
ExpressionPtr make_item(int line, ExpressionPtr object, ExpressionPtr key);
// Parts that are left out are nullptr.
ExpressionPtr make_slice(int line, ExpressionPtr object, ExpressionPtr from, ExpressionPtr to,
                         ExpressionPtr step);
ExpressionPtr make_call(int line, ExpressionPtr function, ArgumentList arguments);
ExpressionPtr make_filter(int line, std::string name, Filter filter, ExpressionPtr input,
                          ArgumentList arguments);
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
};
StatementPtr make_for(int line, Loop loop);
StatementPtr make_jump(int line, Flow flow);
StatementPtr make_set(int line, Target target, ExpressionPtr value);
using FilterCall = std::pair<Filter, ArgumentList>;
StatementPtr make_set_block(int line, Target target, Body body, std::vector<FilterCall> filters);
struct MacroDefinition {
    std::string name;
    std::vector<std::string> parameters;
    std::vector<ExpressionPtr> defaults;  // per parameter; nullptr: undefined
    Body body;
};
// A macro sees its arguments and the variables of the template's top level.
StatementPtr make_macro(int line, MacroDefinition macro);

}  // namespace hetune::jinja
