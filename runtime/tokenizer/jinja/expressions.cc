// Evaluation of the expression nodes of ast.h.
#include <fmt/format.h>

#include <limits>

#include "runtime/tokenizer/jinja/ast.h"
#include "runtime/tokenizer/jinja/operators.h"

namespace hetune::jinja {

Value Scope::find(const std::string& name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent)
        if (const auto found = scope->variables.find(name); found != scope->variables.end())
            return found->second;
    Value global = find_global(name);
    return global.is_undefined() ? Value::undefined(name) : global;
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
    return arguments;
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
    List(int line, std::vector<ExpressionPtr> elements)
        : Expression(line), elements_(std::move(elements)) {}
    Value compute(Scope& scope) const override {
        Json list = Json::array();
        int64_t left = kMaxElements;
        for (const ExpressionPtr& element : elements_)
            list.push_back(to_json(element->eval(scope), left));
        return Value::of(std::move(list));
    }
    std::string construct() const override { return "list"; }

  private:
    std::vector<ExpressionPtr> elements_;
};

class Dict : public Expression {
  public:
    using Entries = std::vector<std::pair<ExpressionPtr, ExpressionPtr>>;
    Dict(int line, Entries entries) : Expression(line), entries_(std::move(entries)) {}
    Value compute(Scope& scope) const override {
        Json dict = Json::object();
        int64_t left = kMaxElements;
        for (const auto& [key, value] : entries_)
            dict[key->eval(scope).as_text()] = to_json(value->eval(scope), left);
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
    Value compute(Scope& scope) const override {
        const Value object = object_->eval(scope);
        Value method = find_method(object, name_);
        return method.is_undefined() ? item(object, Value::text(name_)) : method;
    }
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
        const Value key = key_->eval(scope);
        Value found = item(object, key);
        return found.is_undefined() && key.is_text() ? with_method(object, key, found) : found;
    }
    std::string construct() const override { return "[]"; }

  private:
    static Value with_method(const Value& object, const Value& key, const Value& missing) {
        Value method = find_method(object, key.as_text());
        return method.is_undefined() ? missing : method;
    }
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
    std::string construct() const override { return function_->construct() + "()"; }

  private:
    ExpressionPtr function_;
    ArgumentList arguments_;
};

class FilterNode : public Expression {
  public:
    FilterNode(int line, std::string name, Filter filter, ExpressionPtr input, ArgumentList args)
        : Expression(line),
          name_(std::move(name)),
          filter_(filter),
          input_(std::move(input)),
          arguments_(std::move(args)) {}
    Value compute(Scope& scope) const override {
        const Value input = input_->eval(scope);
        return filter_(input, arguments_.eval(scope));
    }
    std::string construct() const override { return fmt::format("filter '{}'", name_); }

  private:
    std::string name_;
    Filter filter_;
    ExpressionPtr input_;
    ArgumentList arguments_;
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
        return Value::of(Json(test_(input, arguments_.eval(scope)) != negated_));
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
        if (op_ == "not") return Value::of(Json(!value.truthy()));
        if (!value.is_number()) throw Fault("needs a number, not " + value.kind());
        if (op_ == "+") return value;
        if (!value.is_integer() && !value.is_bool()) return Value::of(Json(-value.as_double()));
        if (value.as_integer() == std::numeric_limits<int64_t>::min())
            throw Fault("the integer is too large");
        return Value::of(Json(-value.as_integer()));
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
            if (!holds(ops_[i], left, right)) return Value::of(Json(false));
            left = std::move(right);
        }
        return Value::of(Json(true));
    }
    std::string construct() const override { return fmt::format("operator '{}'", ops_[0]); }

  private:
    static bool holds(const std::string& op, const Value& a, const Value& b) {
        if (op == "==") return equal(a, b);
        if (op == "!=") return !equal(a, b);
        if (op == "in") return contains(b, a);
        if (op == "not in") return !contains(b, a);
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
        return otherwise_ == nullptr ? Value() : otherwise_->eval(scope);
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
    return std::make_unique<List>(line, std::move(elements));
}
ExpressionPtr make_dict(int line, std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries) {
    return std::make_unique<Dict>(line, std::move(entries));
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
ExpressionPtr make_filter(int line, std::string name, Filter filter, ExpressionPtr input,
                          ArgumentList arguments) {
    return std::make_unique<FilterNode>(line, std::move(name), filter, std::move(input),
                                        std::move(arguments));
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
