#include "runtime/tokenizer/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/tokenizer/jinja/expression_parser.h"

namespace hetune::jinja {
namespace {

using Kind = Token::Kind;

constexpr int kMaxBlockDepth = 100;

class Parser {
  public:
    explicit Parser(std::string_view source) : in_(tokenize(source)) {}

    Body run() {
        Body body = parse_body({});
        if (in_.peek().kind != Kind::kEnd)
            in_.fail(in_.peek(1).value, "closes a block that is not open");
        return body;
    }

  private:
    using Names = std::vector<std::string_view>;

    // Until `{%` and one of `ends`, which stays; or, where there are none, to the end.
    Body parse_body(const Names& ends) {
        static const Names kClosing = {"endif",    "else",   "elif",         "endfor",
                                       "endmacro", "endset", "endgeneration"};
        if (++depth_ > kMaxBlockDepth) in_.fail("block", "blocks nest too deeply");
        Body body;
        while (in_.peek().kind != Kind::kEnd) {
            const Token& token = in_.peek();
            if (token.kind == Kind::kStatement) {
                const std::string& name = in_.peek(1).value;
                if (std::ranges::find(ends, name) != ends.end() ||
                    std::ranges::find(kClosing, name) != kClosing.end())
                    break;
                statement(body);
            } else if (token.kind == Kind::kOutput) {
                in_.next();
                const int line = in_.peek().line;
                body.push_back(make_output(line, in_.parse_tuple()));
                in_.expect(Kind::kOutputEnd, "}}", "output");
            } else {
                const Token text = in_.next();
                body.push_back(make_text(text.line, text.value));
            }
        }
        --depth_;
        return body;
    }

    // The body of the block `construct`, from behind the opening tag's name and arguments, and the
    // name that ended it. That name's own tag is left open.
    Body block(const std::string& construct, int line, const Names& ends, std::string& ended_by) {
        end_tag(construct);
        Body body = parse_body(ends);
        if (in_.peek().kind == Kind::kEnd)
            throw TemplateError(line, construct, fmt::format("'{}' is missing", ends.back()));
        if (std::ranges::find(ends, in_.peek(1).value) == ends.end())
            in_.fail(in_.peek(1).value,
                     fmt::format("stands within the '{}' of line {}", construct, line));
        in_.next();
        ended_by = in_.next().value;
        return body;
    }

    void end_tag(const std::string& construct) { in_.expect(Kind::kStatementEnd, "%}", construct); }

    void statement(Body& body) {
        in_.next();
        const int line = in_.peek().line;
        const std::string name = in_.expect_name("tag");
        if (name == "if")
            body.push_back(parse_if(line));
        else if (name == "for")
            body.push_back(parse_for(line));
        else if (name == "set")
            body.push_back(parse_set(line));
        else if (name == "macro")
            body.push_back(parse_macro(line));
        else if (name == "break" || name == "continue")
            body.push_back(parse_jump(line, name));
        else if (name == "generation")
            parse_generation(line, body);
        else
            throw TemplateError(line, fmt::format("tag '{}'", name), "hetune has no such tag");
    }

    StatementPtr parse_if(int line) {
        std::vector<Branch> branches;
        std::string ended_by = "if";
        while (ended_by != "endif") {
            const bool is_else = ended_by == "else";
            ExpressionPtr condition = is_else ? nullptr : in_.parse_tuple();
            const Names ends = is_else ? Names{"endif"} : Names{"elif", "else", "endif"};
            Body body = block("if", line, ends, ended_by);
            branches.push_back({std::move(condition), std::move(body)});
        }
        end_tag("endif");
        return make_if(line, std::move(branches));
    }

    StatementPtr parse_for(int line) {
        Loop loop;
        loop.target = parse_target("for");
        in_.expect(Kind::kName, "in", "for");
        loop.items = in_.parse_or();
        if (in_.skip_name("if")) loop.condition = in_.parse_expression();
        if (in_.at_name("recursive")) in_.fail("for", "hetune has no recursive loops");
        std::string ended_by;
        ++loops_;
        loop.body = block("for", line, {"else", "endfor"}, ended_by);
        --loops_;
        if (ended_by == "else") loop.otherwise = block("for", line, {"endfor"}, ended_by);
        end_tag("endfor");
        return make_for(line, std::move(loop));
    }

    // Names with commas, in parentheses or not; or NAMESPACE.ATTRIBUTE.
    Target parse_target(const std::string& construct) {
        Target target;
        const bool parentheses = in_.skip_operator("(");
        target.names.push_back(in_.expect_name(construct));
        if (in_.skip_operator(".")) target.attribute = in_.expect_name(construct);
        while (in_.skip_operator(",")) {
            target.unpacks = true;
            if (in_.peek().kind != Kind::kName || in_.at_name("in")) break;
            target.names.push_back(in_.expect_name(construct));
        }
        if (parentheses) in_.expect_operator(")", construct);
        return target;
    }

    StatementPtr parse_set(int line) {
        Target target = parse_target("set");
        if (in_.skip_operator("=")) {
            ExpressionPtr value = in_.parse_tuple();
            end_tag("set");
            return make_set(line, std::move(target), std::move(value));
        }
        std::vector<FilterCall> filters;
        while (in_.skip_operator("|")) {
            const Filter filter = in_.parse_filter_name().second;
            filters.emplace_back(filter,
                                 in_.skip_operator("(") ? in_.parse_arguments() : ArgumentList());
        }
        std::string ended_by;
        Body body = block("set", line, {"endset"}, ended_by);
        end_tag("endset");
        return make_set_block(line, std::move(target), std::move(body), std::move(filters));
    }

    StatementPtr parse_macro(int line) {
        MacroDefinition macro;
        macro.name = in_.expect_name("macro");
        in_.expect_operator("(", "macro");
        while (!in_.skip_operator(")")) {
            if (!macro.parameters.empty()) in_.expect_operator(",", "macro");
            if (in_.skip_operator(")")) break;
            macro.parameters.push_back(in_.expect_name("macro"));
            macro.defaults.push_back(in_.skip_operator("=") ? in_.parse_expression() : nullptr);
        }
        const int loops_outside = std::exchange(loops_, 0);
        std::string ended_by;
        macro.body = block("macro", line, {"endmacro"}, ended_by);
        loops_ = loops_outside;
        if (in_.at_name(macro.name)) in_.next();
        end_tag("endmacro");
        return make_macro(line, std::move(macro));
    }

    StatementPtr parse_jump(int line, const std::string& name) {
        if (loops_ == 0) throw TemplateError(line, name, "stands outside of a loop");
        end_tag(name);
        return make_jump(line, name == "break" ? Flow::kBreak : Flow::kContinue);
    }

    // Marks what the model wrote, for training; its body is output like any other.
    void parse_generation(int line, Body& body) {
        std::string ended_by;
        Body inner = block("generation", line, {"endgeneration"}, ended_by);
        end_tag("endgeneration");
        for (StatementPtr& statement : inner) body.push_back(std::move(statement));
    }

    ExpressionParser in_;
    int depth_ = 0;
    int loops_ = 0;  // open around the place at hand
};

}  // namespace

Body parse(std::string_view source) { return Parser(source).run(); }

}  // namespace hetune::jinja
