// The part of the parser that reads expressions, from a place in a list of tokens.
#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/jinja/ast.h"

namespace hetune::jinja {

class ExpressionParser {
  public:
    explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

    // With commas: a tuple, as in `set a, b = 1, 2`.
    ExpressionPtr parse_tuple() { return parse_tuple(&ExpressionParser::parse_expression); }
    // For `for x in 1, 2 if z`, whose `if` a ternary would swallow.
    ExpressionPtr parse_tuple_without_ternary() { return parse_tuple(&ExpressionParser::parse_or); }
    ExpressionPtr parse_expression();
    ArgumentList parse_arguments();                    // from behind the opening parenthesis
    FilterCall parse_filter_call();                    // from behind the bar
    std::set<std::string>& names() { return names_; }  // variables that were read so far

    const Token& peek(size_t ahead = 0) const;
    Token next();
    bool at(Token::Kind kind, std::string_view value) const;
    bool at_operator(std::string_view op) const { return at(Token::Kind::kOperator, op); }
    bool at_name(std::string_view name) const { return at(Token::Kind::kName, name); }
    bool skip_operator(std::string_view op);
    bool skip_name(std::string_view name);
    std::string dotted_name(std::string_view construct);  // of a filter or test
    std::string expect_name(std::string_view construct);
    void expect_operator(std::string_view op, std::string_view construct);
    void expect(Token::Kind kind, std::string_view what, std::string_view construct);
    [[noreturn]] void fail(std::string_view construct, std::string_view what) const;
    [[noreturn]] void fail_unexpected(std::string_view construct) const;

  private:
    using Parse = ExpressionPtr (ExpressionParser::*)();
    ExpressionPtr parse_tuple(Parse element);
    ExpressionPtr parse_or();
    ExpressionPtr parse_and();
    ExpressionPtr parse_not();
    ExpressionPtr parse_comparison();
    // Left to right, of the operators in `ops`, with operands one level tighter.
    ExpressionPtr parse_chain(std::initializer_list<std::string_view> ops, Parse operand);
    ExpressionPtr parse_sum();
    ExpressionPtr parse_concat();
    ExpressionPtr parse_product();
    ExpressionPtr parse_power();
    ExpressionPtr parse_unary() { return parse_unary(true); }
    ExpressionPtr parse_unary(bool with_filters);
    ExpressionPtr parse_primary();
    ExpressionPtr parse_number();
    ExpressionPtr parse_list(int line);
    ExpressionPtr parse_dict(int line);
    ExpressionPtr parse_postfix(ExpressionPtr value);
    ExpressionPtr parse_subscript(ExpressionPtr object, int line);
    ExpressionPtr parse_filters_and_tests(ExpressionPtr value);
    ExpressionPtr parse_test(ExpressionPtr value, int line);
    // Called for each node: bounds the depth of what evaluation and destruction recurse through.
    void count_node();

    std::vector<Token> tokens_;
    size_t at_ = 0;
    int nodes_ = 0;  // in the tag at hand
    std::set<std::string> names_;
};

}  // namespace hetune::jinja
