#include "runtime/text/jinja/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace hetune::jinja {
namespace {

using Kind = Token::Kind;

constexpr int kMaxNodesPerTag = 2000;  // the largest tag of a published template has about 60

std::string description(const Token& token) {
    switch (token.kind) {
        case Kind::kEnd:
            return "the end of the template";
        case Kind::kText:
            return "text";
        case Kind::kStatementEnd:
            return "'%}'";
        case Kind::kOutputEnd:
            return "'}}'";
        case Kind::kString:
            return fmt::format("the string '{}'", token.value);
        default:
            return fmt::format("'{}'", token.value);
    }
}

}  // namespace

const Token& ExpressionParser::peek(size_t ahead) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
}

Token ExpressionParser::next() {
    const Token& token = peek();
    if (token.kind == Kind::kStatement || token.kind == Kind::kOutput) nodes_ = 0;
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
}

bool ExpressionParser::at(Kind kind, std::string_view value) const {
    return peek().kind == kind && peek().value == value;
}
bool ExpressionParser::skip_operator(std::string_view op) {
    return at_operator(op) && (next(), true);
}
bool ExpressionParser::skip_name(std::string_view name) { return at_name(name) && (next(), true); }

std::string ExpressionParser::expect_name(std::string_view construct) {
    if (peek().kind != Kind::kName) fail_unexpected(construct);
    return next().value;
}
void ExpressionParser::expect_operator(std::string_view op, std::string_view construct) {
    expect(Kind::kOperator, op, construct);
}
void ExpressionParser::expect(Kind kind, std::string_view what, std::string_view construct) {
    const bool has_value = kind == Kind::kOperator || kind == Kind::kName;
    if (peek().kind != kind || (has_value && peek().value != what))
        fail(construct, fmt::format("expected '{}', not {}", what, description(peek())));
    next();
}

void ExpressionParser::fail(std::string_view construct, std::string_view what) const {
    throw TemplateError(peek().line, construct, what);
}
void ExpressionParser::fail_unexpected(std::string_view construct) const {
    fail(construct, fmt::format("{} cannot stand here", description(peek())));
}

void ExpressionParser::count_node() {
    if (++nodes_ > kMaxNodesPerTag)
        fail("expression", fmt::format("has more than {} parts", kMaxNodesPerTag));
}

ExpressionPtr ExpressionParser::parse_tuple(Parse element) {
    const int line = peek().line;
    ExpressionPtr first = (this->*element)();
    if (!at_operator(",")) return first;
    std::vector<ExpressionPtr> elements;
    elements.push_back(std::move(first));
    while (skip_operator(",")) {
        if (peek().kind == Kind::kStatementEnd || peek().kind == Kind::kOutputEnd ||
            at_operator(")") || at_operator("="))
            break;
        elements.push_back((this->*element)());
    }
    return make_tuple(line, std::move(elements));
}

ExpressionPtr ExpressionParser::parse_expression() {
    count_node();
    const int line = peek().line;
    ExpressionPtr value = parse_or();
    while (skip_name("if")) {
        count_node();
        ExpressionPtr condition = parse_or();
        ExpressionPtr otherwise = skip_name("else") ? parse_expression() : nullptr;
        value = make_ternary(line, std::move(condition), std::move(value), std::move(otherwise));
    }
    return value;
}

ExpressionPtr ExpressionParser::parse_or() {
    ExpressionPtr left = parse_and();
    while (at_name("or")) {
        count_node();
        const int line = next().line;
        left = make_binary(line, "or", std::move(left), parse_and());
    }
    return left;
}

ExpressionPtr ExpressionParser::parse_and() {
    ExpressionPtr left = parse_not();
    while (at_name("and")) {
        count_node();
        const int line = next().line;
        left = make_binary(line, "and", std::move(left), parse_not());
    }
    return left;
}

ExpressionPtr ExpressionParser::parse_not() {
    if (!at_name("not")) return parse_comparison();
    count_node();
    const int line = next().line;
    return make_unary(line, "not", parse_not());
}

ExpressionPtr ExpressionParser::parse_comparison() {
    static constexpr std::array<std::string_view, 6> kOrder = {"==", "!=", "<", "<=", ">", ">="};
    const int line = peek().line;
    std::vector<std::string> ops;
    std::vector<ExpressionPtr> operands;
    operands.push_back(parse_sum());
    while (true) {
        if (peek().kind == Kind::kOperator &&
            std::ranges::find(kOrder, peek().value) != kOrder.end())
            ops.push_back(next().value);
        else if (skip_name("in"))
            ops.push_back("in");
        else if (at_name("not") && peek(1).kind == Kind::kName && peek(1).value == "in")
            next(), next(), ops.push_back("not in");
        else
            break;
        count_node();
        operands.push_back(parse_sum());
    }
    if (ops.empty()) return std::move(operands[0]);
    return make_comparison(line, std::move(ops), std::move(operands));
}

ExpressionPtr ExpressionParser::parse_chain(std::initializer_list<std::string_view> ops,
                                            Parse operand) {
    ExpressionPtr left = (this->*operand)();
    while (peek().kind == Kind::kOperator && std::ranges::find(ops, peek().value) != ops.end()) {
        count_node();
        const Token op = next();
        left = make_binary(op.line, op.value, std::move(left), (this->*operand)());
    }
    return left;
}

ExpressionPtr ExpressionParser::parse_sum() {
    return parse_chain({"+", "-"}, &ExpressionParser::parse_concat);
}
ExpressionPtr ExpressionParser::parse_concat() {
    return parse_chain({"~"}, &ExpressionParser::parse_product);
}
ExpressionPtr ExpressionParser::parse_product() {
    return parse_chain({"*", "/", "//", "%"}, &ExpressionParser::parse_power);
}
ExpressionPtr ExpressionParser::parse_power() {
    return parse_chain({"**"}, &ExpressionParser::parse_unary);
}

ExpressionPtr ExpressionParser::parse_unary(bool with_filters) {
    count_node();
    ExpressionPtr value;
    if (at_operator("-") || at_operator("+")) {
        const Token op = next();
        value = make_unary(op.line, op.value, parse_unary(false));
    } else {
        value = parse_primary();
    }
    value = parse_postfix(std::move(value));
    return with_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::parse_primary() {
    const Token& token = peek();
    const int line = token.line;
    if (token.kind == Kind::kInteger || token.kind == Kind::kFloat) return parse_number();
    if (token.kind == Kind::kString) {
        std::string text;
        while (peek().kind == Kind::kString) text += next().value;
        return make_constant(line, Value::text(std::move(text)));
    }
    if (token.kind == Kind::kName) {
        const std::string name = next().value;
        if (name == "true" || name == "True") return make_constant(line, Value::of(true));
        if (name == "false" || name == "False") return make_constant(line, Value::of(false));
        if (name == "none" || name == "None") return make_constant(line, Value::none());
        names_.insert(name);
        return make_name(line, name);
    }
    if (skip_operator("(")) {
        if (skip_operator(")")) return make_tuple(line, {});
        ExpressionPtr value = parse_tuple();
        expect_operator(")", "parentheses");
        return value;
    }
    if (skip_operator("[")) return parse_list(line);
    if (skip_operator("{")) return parse_dict(line);
    fail_unexpected("expression");
}

ExpressionPtr ExpressionParser::parse_number() {
    const Token token = next();
    if (token.kind == Kind::kFloat) {
        double value = 0;
        const auto [end, error] =
            std::from_chars(token.value.data(), token.value.data() + token.value.size(), value);
        // Too large is infinity, as in Python; too small is 0.
        if (error == std::errc::result_out_of_range)
            value = token.value.find('-') == std::string::npos ? HUGE_VAL : 0.0;
        return make_constant(token.line, Value::of(value));
    }
    std::string_view digits = token.value;
    int base = 10;
    if (digits.size() > 1 && digits[0] == '0' && (digits[1] < '0' || digits[1] > '9')) {
        base = digits[1] == 'x' || digits[1] == 'X'   ? 16
               : digits[1] == 'o' || digits[1] == 'O' ? 8
                                                      : 2;
        digits.remove_prefix(2);
    }
    std::optional<Integer> value;
    if (digits.size() < 4000) value = Integer::parse(digits, base);
    if (!value) throw TemplateError(token.line, "number", token.value.substr(0, 40) + " is none");
    return make_constant(token.line, Value::of(*value));
}

ExpressionPtr ExpressionParser::parse_list(int line) {
    std::vector<ExpressionPtr> elements;
    while (!skip_operator("]")) {
        if (!elements.empty()) expect_operator(",", "list");
        if (skip_operator("]")) break;
        elements.push_back(parse_expression());
    }
    return make_list(line, std::move(elements));
}

ExpressionPtr ExpressionParser::parse_dict(int line) {
    std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
    while (!skip_operator("}")) {
        if (!entries.empty()) expect_operator(",", "dict");
        if (skip_operator("}")) break;
        ExpressionPtr key = parse_expression();
        expect_operator(":", "dict");
        ExpressionPtr value = parse_expression();
        entries.emplace_back(std::move(key), std::move(value));
    }
    return make_dict(line, std::move(entries));
}

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr value) {
    while (true) {
        const int line = peek().line;
        if (skip_operator(".")) {
            count_node();
            if (peek().kind == Kind::kInteger)
                value = make_item(line, std::move(value), parse_number());
            else
                value = make_attribute(line, std::move(value), expect_name("attribute"));
        } else if (skip_operator("[")) {
            count_node();
            value = parse_subscript(std::move(value), line);
        } else if (skip_operator("(")) {
            count_node();
            value = make_call(line, std::move(value), parse_arguments());
        } else {
            return value;
        }
    }
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr object, int line) {
    const auto part = [&]() -> ExpressionPtr {
        return at_operator(":") || at_operator("]") ? nullptr : parse_expression();
    };
    ExpressionPtr from = part();
    if (!at_operator(":")) {
        if (from == nullptr) fail_unexpected("subscript");
        if (at_operator(",")) {  // x[1, 2] has a tuple as its key
            std::vector<ExpressionPtr> elements;
            elements.push_back(std::move(from));
            while (skip_operator(","))
                if (!at_operator("]")) elements.push_back(parse_expression());
            from = make_tuple(line, std::move(elements));
        }
        expect_operator("]", "subscript");
        return make_item(line, std::move(object), std::move(from));
    }
    next();
    ExpressionPtr to = part();
    ExpressionPtr step = skip_operator(":") ? part() : nullptr;
    expect_operator("]", "slice");
    return make_slice(line, std::move(object), std::move(from), std::move(to), std::move(step));
}

ArgumentList ExpressionParser::parse_arguments() {
    ArgumentList arguments;
    bool first = true;
    while (!skip_operator(")")) {
        if (!first) expect_operator(",", "arguments");
        first = false;
        if (skip_operator(")")) break;
        const bool named =
            peek().kind == Kind::kName && peek(1).kind == Kind::kOperator && peek(1).value == "=";
        if (skip_operator("*")) {
            arguments.more_positional = parse_expression();
        } else if (skip_operator("**")) {
            arguments.more_named = parse_expression();
        } else if (named) {
            std::string name = next().value;
            next();
            arguments.named.emplace_back(std::move(name), parse_expression());
        } else if (!arguments.named.empty()) {
            fail("arguments", "one without a name follows one with a name");
        } else {
            arguments.positional.push_back(parse_expression());
        }
    }
    return arguments;
}

std::string ExpressionParser::dotted_name(std::string_view construct) {
    std::string name = expect_name(construct);
    while (skip_operator(".")) name += '.' + expect_name(construct);
    return name;
}

FilterCall ExpressionParser::parse_filter_call() {
    FilterCall call;
    call.name = dotted_name("filter");
    call.filter = find_filter(call.name);
    if (skip_operator("(")) call.arguments = parse_arguments();
    return call;
}

ExpressionPtr ExpressionParser::parse_filters_and_tests(ExpressionPtr value) {
    while (true) {
        const int line = peek().line;
        if (skip_operator("|")) {
            count_node();
            value = make_filter(line, parse_filter_call(), std::move(value));
        } else if (skip_name("is")) {
            count_node();
            value = parse_test(std::move(value), line);
        } else if (skip_operator("(")) {
            count_node();
            value = make_call(line, std::move(value), parse_arguments());
        } else {
            return value;
        }
    }
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr value, int line) {
    const bool negated = skip_name("not");
    std::string name = dotted_name("test");
    const Test test = find_test(name);
    ArgumentList arguments;
    const Token& token = peek();
    const bool ends =
        token.kind == Kind::kName &&
        (token.value == "else" || token.value == "or" || token.value == "and" ||
         token.value == "is" || token.value == "if" || token.value == "in" || token.value == "not");
    if (at_name("is")) fail("test", "one test cannot follow another");
    if (skip_operator("(")) {
        arguments = parse_arguments();
    } else if ((token.kind == Kind::kName && !ends) || token.kind == Kind::kString ||
               token.kind == Kind::kInteger || token.kind == Kind::kFloat || at_operator("[") ||
               at_operator("{")) {
        arguments.positional.push_back(parse_postfix(parse_primary()));
    }
    return make_test(line, std::move(name), test, negated, std::move(value), std::move(arguments));
}

}  // namespace hetune::jinja
