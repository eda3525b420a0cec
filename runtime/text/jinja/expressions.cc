// Evaluation of the expression nodes of ast.h.
#include <fmt/format.h>

#include <cmath>

#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/ast.h"
#include "runtime/text/jinja/comparison.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/print.h"

namespace hetune::jinja {

Value Scope::find(const std::string& name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get())
        if (const auto found = scope->variables.find(name); found != scope->variables.end())
            return found->second;
    Value global = find_global(name);
    return global.is_undefined() ? Value::undefined(fmt::format("{} is undefined", text_repr(name)))
                                 : global;
}

Value Expression::eval(Scope& scope) const {
    try {
        return compute(scope);
    } catch (const Fault& fault) {
        throw TemplateError(line_, construct(), fault.what());
    }
}

Arguments ArgumentList::eval(Scope& scope) const {
    Arguments arguments;
    for (const ExpressionPtr& argument : positional)
        arguments.positional.push_back(argument->eval(scope));
    for (const auto& [name, argument] : named)
        arguments.named.emplace_back(name, argument->eval(scope));
    if (more_positional != nullptr)
        for (Value& value : more_positional->eval(scope).items())
            arguments.positional.push_back(std::move(value));
    if (more_named != nullptr) {
        const Value given = more_named->eval(scope);
        if (given.dict() == nullptr) throw Fault("** needs a dict, not " + given.kind());
        for (const auto& [name, value] : given.dict()->entries)
            arguments.named.emplace_back(name.as_text(), value);
    }
    return arguments;
}

Value FilterCall::apply(const Value& input, Scope& scope) const {
    if (filter == nullptr) throw Fault(fmt::format("there is no filter '{}'", name));
    return filter(input, arguments.eval(scope));
}

namespace {

class Constant : public Expression {
  public:
    Constant(int line, Value value) : Expression(line), value_(std::move(value)) {}
    Value compute(Scope&) const override { return value_; }

  private:
    Value value_;
};

class Name : public Expression {
  public:
    Name(int line, std::string name) : Expression(line), name_(std::move(name)) {}
    Value compute(Scope& scope) const override { return scope.find(name_); }
    std::string construct() const override { return name_; }

  private:
    std::string name_;
};

class List : public Expression {
  public:
    List(int line, std::vector<ExpressionPtr> elements, bool tuple)
        : Expression(line), elements_(std::move(elements)), tuple_(tuple) {}
    Value compute(Scope& scope) const override {
        std::vector<Value> values;
        for (const ExpressionPtr& element : elements_) values.push_back(element->eval(scope));
        return tuple_ ? Value::tuple(std::move(values)) : Value::list(std::move(values));
    }
    std::string construct() const override { return tuple_ ? "tuple" : "list"; }

  private:
    std::vector<ExpressionPtr> elements_;
    bool tuple_;
};

class DictNode : public Expression {
  public:
    using Entries = std::vector<std::pair<ExpressionPtr, ExpressionPtr>>;
    DictNode(int line, Entries entries) : Expression(line), entries_(std::move(entries)) {}
    Value compute(Scope& scope) const override {
        auto dict = std::make_shared<Dict>();
        for (const auto& [key, value] : entries_) {
            const Value name = key->eval(scope);
            dict->set(name, value->eval(scope));
        }
        return Value::of(std::move(dict));
    }
    std::string construct() const override { return "dict"; }

  private:
    Entries entries_;
};

class Attribute : public Expression {
  public:
    Attribute(int line, ExpressionPtr object, std::string name)
        : Expression(line), object_(std::move(object)), name_(std::move(name)) {}
    Value compute(Scope& scope) const override { return attribute(object_->eval(scope), name_); }
    std::string construct() const override { return "." + name_; }

  private:
    ExpressionPtr object_;
    std::string name_;
};

class Item : public Expression {
  public:
    Item(int line, ExpressionPtr object, ExpressionPtr key)
        : Expression(line), object_(std::move(object)), key_(std::move(key)) {}
    Value compute(Scope& scope) const override {
        const Value object = object_->eval(scope);
        return item(object, key_->eval(scope));
    }
    std::string construct() const override { return "[]"; }

  private:
    ExpressionPtr object_;
    ExpressionPtr key_;
};

class Slice : public Expression {
  public:
    Slice(int line, ExpressionPtr object, ExpressionPtr from, ExpressionPtr to, ExpressionPtr step)
        : Expression(line),
          object_(std::move(object)),
          from_(std::move(from)),
          to_(std::move(to)),
          step_(std::move(step)) {}
    Value compute(Scope& scope) const override {
        const auto part = [&](const ExpressionPtr& p) {
            return p == nullptr ? Value() : p->eval(scope);
        };
        return slice(object_->eval(scope), part(from_), part(to_), part(step_));
    }
    std::string construct() const override { return "slice"; }

  private:
    ExpressionPtr object_, from_, to_, step_;
};

class Call : public Expression {
  public:
    Call(int line, ExpressionPtr function, ArgumentList arguments)
        : Expression(line), function_(std::move(function)), arguments_(std::move(arguments)) {}
    Value compute(Scope& scope) const override {
        const Value function = function_->eval(scope);
        return function.call(arguments_.eval(scope));
    }
    bool is_call() const override { return true; }
    std::optional<Value> call_with(Scope& scope, const std::string& name,
                                   const Value& value) const override {
        const Value function = function_->eval(scope);
        Arguments arguments = arguments_.eval(scope);
        arguments.named.emplace_back(name, value);
        return function.call(arguments);
    }
    std::string construct() const override { return function_->construct() + "()"; }

  private:
    ExpressionPtr function_;
    ArgumentList arguments_;
};

class FilterNode : public Expression {
  public:
    FilterNode(int line, FilterCall call, ExpressionPtr input)
        : Expression(line), call_(std::move(call)), input_(std::move(input)) {}
    Value compute(Scope& scope) const override { return call_.apply(input_->eval(scope), scope); }
    std::string construct() const override { return fmt::format("filter '{}'", call_.name); }

  private:
    FilterCall call_;
    ExpressionPtr input_;
};

class TestNode : public Expression {
  public:
    TestNode(int line, std::string name, Test test, bool negated, ExpressionPtr input,
             ArgumentList args)
        : Expression(line),
          name_(std::move(name)),
          test_(test),
          negated_(negated),
          input_(std::move(input)),
          arguments_(std::move(args)) {}
    Value compute(Scope& scope) const override {
        const Value input = input_->eval(scope);
        if (test_ == nullptr) throw Fault(fmt::format("there is no test '{}'", name_));
        return Value::of(test_(input, arguments_.eval(scope)) != negated_);
    }
    std::string construct() const override { return fmt::format("test '{}'", name_); }

  private:
    std::string name_;
    Test test_;
    bool negated_;
    ExpressionPtr input_;
    ArgumentList arguments_;
};

class Unary : public Expression {
  public:
    Unary(int line, std::string op, ExpressionPtr operand)
        : Expression(line), op_(std::move(op)), operand_(std::move(operand)) {}
    Value compute(Scope& scope) const override {
        const Value value = operand_->eval(scope);
        if (op_ == "not") return Value::of(!value.truthy());
        if (op_ == "-") return negated(value);
        return value.is_float() ? value : Value::of(value.as_integer());
    }
    std::string construct() const override { return fmt::format("operator '{}'", op_); }

  private:
    std::string op_;
    ExpressionPtr operand_;
};

class Binary : public Expression {
  public:
    Binary(int line, std::string op, ExpressionPtr left, ExpressionPtr right)
        : Expression(line), op_(std::move(op)), left_(std::move(left)), right_(std::move(right)) {}
    Value compute(Scope& scope) const override {
        Value left = left_->eval(scope);
        if (op_ == "and") return left.truthy() ? right_->eval(scope) : left;
        if (op_ == "or") return left.truthy() ? left : right_->eval(scope);
        return operate(op_, left, right_->eval(scope));
    }
    std::string construct() const override { return fmt::format("operator '{}'", op_); }

  private:
    std::string op_;
    ExpressionPtr left_, right_;
};

class Comparison : public Expression {
  public:
    Comparison(int line, std::vector<std::string> ops, std::vector<ExpressionPtr> operands)
        : Expression(line), ops_(std::move(ops)), operands_(std::move(operands)) {}
    Value compute(Scope& scope) const override {
        Value left = operands_[0]->eval(scope);
        for (size_t i = 0; i < ops_.size(); ++i) {
            Value right = operands_[i + 1]->eval(scope);
            if (!holds(ops_[i], left, right)) return Value::of(false);
            left = std::move(right);
        }
        return Value::of(true);
    }
    std::string construct() const override { return fmt::format("operator '{}'", ops_[0]); }

  private:
    static bool holds(const std::string& op, const Value& a, const Value& b) {
        if (op == "==") return equal(a, b);
        if (op == "!=") return !equal(a, b);
        if (op == "in") return contains(b, a);
        if (op == "not in") return !contains(b, a);
        const auto is_nan = [](const Value& v) {
            return v.is_float() && std::isnan(v.as_double());
        };
        if (a.is_number() && b.is_number() && (is_nan(a) || is_nan(b))) return false;
        const int order = compare(a, b);
        if (op == "<") return order < 0;
        if (op == "<=") return order <= 0;
        return op == ">" ? order > 0 : order >= 0;
    }
    std::vector<std::string> ops_;
    std::vector<ExpressionPtr> operands_;
};

class Ternary : public Expression {
  public:
    Ternary(int line, ExpressionPtr condition, ExpressionPtr then, ExpressionPtr otherwise)
        : Expression(line),
          condition_(std::move(condition)),
          then_(std::move(then)),
          otherwise_(std::move(otherwise)) {}
    Value compute(Scope& scope) const override {
        if (condition_->eval(scope).truthy()) return then_->eval(scope);
        if (otherwise_ != nullptr) return otherwise_->eval(scope);
        return Value::undefined(fmt::format(
            "the inline if-expression on line {} evaluated to false and no else section was "
            "defined.",
            line()));
    }

  private:
    ExpressionPtr condition_, then_, otherwise_;
};

}  // namespace

ExpressionPtr make_constant(int line, Value value) {
    return std::make_unique<Constant>(line, std::move(value));
}
ExpressionPtr make_name(int line, std::string name) {
    return std::make_unique<Name>(line, std::move(name));
}
ExpressionPtr make_list(int line, std::vector<ExpressionPtr> elements) {
    return std::make_unique<List>(line, std::move(elements), false);
}
ExpressionPtr make_tuple(int line, std::vector<ExpressionPtr> elements) {
    return std::make_unique<List>(line, std::move(elements), true);
}
ExpressionPtr make_dict(int line, std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries) {
    return std::make_unique<DictNode>(line, std::move(entries));
}
ExpressionPtr make_attribute(int line, ExpressionPtr object, std::string name) {
    return std::make_unique<Attribute>(line, std::move(object), std::move(name));
}
ExpressionPtr make_item(int line, ExpressionPtr object, ExpressionPtr key) {
    return std::make_unique<Item>(line, std::move(object), std::move(key));
}
ExpressionPtr make_slice(int line, ExpressionPtr object, ExpressionPtr from, ExpressionPtr to,
                         ExpressionPtr step) {
    return std::make_unique<Slice>(line, std::move(object), std::move(from), std::move(to),
                                   std::move(step));
}
ExpressionPtr make_call(int line, ExpressionPtr function, ArgumentList arguments) {
    return std::make_unique<Call>(line, std::move(function), std::move(arguments));
}
ExpressionPtr make_filter(int line, FilterCall call, ExpressionPtr input) {
    return std::make_unique<FilterNode>(line, std::move(call), std::move(input));
}
ExpressionPtr make_test(int line, std::string name, Test test, bool negated, ExpressionPtr input,
                        ArgumentList arguments) {
    return std::make_unique<TestNode>(line, std::move(name), test, negated, std::move(input),
                                      std::move(arguments));
}
ExpressionPtr make_unary(int line, std::string op, ExpressionPtr operand) {
    return std::make_unique<Unary>(line, std::move(op), std::move(operand));
}
ExpressionPtr make_binary(int line, std::string op, ExpressionPtr left, ExpressionPtr right) {
    return std::make_unique<Binary>(line, std::move(op), std::move(left), std::move(right));
}
ExpressionPtr make_comparison(int line, std::vector<std::string> ops,
                              std::vector<ExpressionPtr> operands) {
    return std::make_unique<Comparison>(line, std::move(ops), std::move(operands));
}
ExpressionPtr make_ternary(int line, ExpressionPtr condition, ExpressionPtr then,
                           ExpressionPtr otherwise) {
    return std::make_unique<Ternary>(line, std::move(condition), std::move(then),
                                     std::move(otherwise));
}

}  // namespace hetune::jinja
