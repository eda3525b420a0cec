#include "runtime/text/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "runtime/text/jinja/expression_parser.h"

namespace hetune::jinja {
namespace {

using Kind = Token::Kind;

constexpr int kMaxBlockDepth = 100;

class Parser {
  public:
    explicit Parser(std::string_view source) : in_(tokenize(source)) {}

    ParsedTemplate run() {
        Body body = parse_body({});
        if (in_.peek().kind != Kind::kEnd)
            in_.fail(in_.peek(1).value, "closes a block that is not open");
        return {std::move(body), std::move(blocks_)};
    }

  private:
    using Names = std::vector<std::string_view>;

    // Until `{%` and one of `ends`, which stays; or, where there are none, to the end.
    Body parse_body(const Names& ends) {
        static const Names kClosing = {"endif",    "else",     "elif",          "endfor",
                                       "endmacro", "endset",   "endgeneration", "endcall",
                                       "endwith",  "endblock", "endfilter",     "endautoescape"};
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
        else if (name == "generation")  // marks what the model wrote, for training
            body.push_back(parse_scope(line, name));
        else if (name == "call")
            body.push_back(parse_call(line));
        else if (name == "filter")
            body.push_back(parse_filter(line));
        else if (name == "with")
            body.push_back(parse_with(line));
        else if (name == "block")
            body.push_back(parse_block(line));
        else if (name == "autoescape")
            body.push_back(parse_autoescape(line));
        else if (name == "include" || name == "import" || name == "from" || name == "extends")
            body.push_back(parse_loader(line, name));
        else
            throw TemplateError(line, fmt::format("tag '{}'", name), "hetune has no such tag");
    }

    StatementPtr parse_if(int line) {
        std::vector<Branch> branches;
        std::string ended_by = "if";
        while (ended_by != "endif") {
            const bool is_else = ended_by == "else";
            ExpressionPtr condition = is_else ? nullptr : in_.parse_tuple_without_ternary();
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
        loop.items = in_.parse_tuple_without_ternary();
        if (in_.skip_name("if")) loop.condition = in_.parse_expression();
        loop.recursive = in_.skip_name("recursive");
        std::string ended_by;
        ++loops_;
        loop.body = block("for", line, {"else", "endfor"}, ended_by);
        --loops_;
        if (ended_by == "else") loop.otherwise = block("for", line, {"endfor"}, ended_by);
        end_tag("endfor");
        return make_for(line, std::move(loop));
    }

    // Names with commas, in parentheses or not, which may nest; or NAMESPACE.ATTRIBUTE.
    Target parse_target(const std::string& construct) {
        Target first = parse_one_target(construct);
        if (!in_.at_operator(",")) return first;
        Target target;
        target.unpacks = true;
        target.parts.push_back(std::move(first));
        while (in_.skip_operator(",")) {
            const bool more =
                (in_.peek().kind == Kind::kName && !in_.at_name("in")) || in_.at_operator("(");
            if (!more) break;
            target.parts.push_back(parse_one_target(construct));
        }
        return target;
    }

    Target parse_one_target(const std::string& construct) {
        if (in_.skip_operator("(")) {
            if (++depth_ > kMaxBlockDepth) in_.fail(construct, "targets nest too deeply");
            Target inner = parse_target(construct);
            in_.expect_operator(")", construct);
            --depth_;
            return inner;
        }
        Target target;
        target.name = in_.expect_name(construct);
        static const Names kConstants = {"true", "false", "none", "True", "False", "None"};
        if (std::ranges::find(kConstants, target.name) != kConstants.end())
            in_.fail(construct, fmt::format("cannot assign to '{}'", target.name));
        if (in_.skip_operator(".")) target.attribute = in_.expect_name(construct);
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
        while (in_.skip_operator("|")) filters.push_back(in_.parse_filter_call());
        std::string ended_by;
        Body body = block("set", line, {"endset"}, ended_by);
        end_tag("endset");
        return make_set_block(line, std::move(target), std::move(body), std::move(filters));
    }

    // From behind the opening parenthesis.
    void parse_parameters(MacroDefinition& macro) {
        while (!in_.skip_operator(")")) {
            if (!macro.parameters.empty()) in_.expect_operator(",", "macro");
            if (in_.skip_operator(")")) break;
            macro.parameters.push_back(in_.expect_name("macro"));
            const bool had_default = !macro.defaults.empty() && macro.defaults.back() != nullptr;
            macro.defaults.push_back(in_.skip_operator("=") ? in_.parse_expression() : nullptr);
            if (had_default && macro.defaults.back() == nullptr)
                in_.fail("macro", "a parameter without a default follows one with a default");
        }
    }

    // The body up to `end`, and which of the names that a call fills it uses.
    void parse_macro_body(int line, const std::string& construct, std::string_view end,
                          MacroDefinition& macro) {
        const int loops_outside = std::exchange(loops_, 0);
        std::set<std::string> names_outside = std::exchange(in_.names(), {});
        std::string ended_by;
        macro.body = block(construct, line, {end}, ended_by);
        const auto uses = [&](const char* name) {
            return in_.names().contains(name) &&
                   std::ranges::find(macro.parameters, name) == macro.parameters.end();
        };
        macro.takes_caller = uses("caller");
        macro.takes_named = uses("kwargs");
        macro.takes_positional = uses("varargs");
        in_.names().merge(names_outside);
        loops_ = loops_outside;
    }

    StatementPtr parse_macro(int line) {
        MacroDefinition macro;
        macro.name = in_.expect_name("macro");
        in_.expect_operator("(", "macro");
        parse_parameters(macro);
        parse_macro_body(line, "macro", "endmacro", macro);
        if (in_.at_name(macro.name)) in_.next();
        end_tag("endmacro");
        return make_macro(line, std::move(macro));
    }

    StatementPtr parse_call(int line) {
        MacroDefinition caller;
        caller.name = "caller";
        if (in_.skip_operator("(")) parse_parameters(caller);
        ExpressionPtr call = in_.parse_expression();
        if (!call->is_call()) throw TemplateError(line, "call", "needs a call");
        parse_macro_body(line, "call", "endcall", caller);
        end_tag("endcall");
        return make_call_block(line, std::move(call), std::move(caller));
    }

    StatementPtr parse_filter(int line) {
        std::vector<FilterCall> filters;
        do filters.push_back(in_.parse_filter_call());
        while (in_.skip_operator("|"));
        std::string ended_by;
        Body body = block("filter", line, {"endfilter"}, ended_by);
        end_tag("endfilter");
        return make_filter_block(line, std::move(filters), std::move(body));
    }

    StatementPtr parse_with(int line) {
        std::vector<std::pair<Target, ExpressionPtr>> variables;
        while (in_.peek().kind != Kind::kStatementEnd) {
            if (!variables.empty()) in_.expect_operator(",", "with");
            Target target = parse_one_target("with");
            in_.expect_operator("=", "with");
            variables.emplace_back(std::move(target), in_.parse_expression());
        }
        std::string ended_by;
        Body body = block("with", line, {"endwith"}, ended_by);
        end_tag("endwith");
        return make_with(line, std::move(variables), std::move(body));
    }

    StatementPtr parse_block(int line) {
        const std::string name = in_.expect_name("block");
        if (!blocks_.emplace(name, nullptr).second)
            throw TemplateError(line, "block", fmt::format("'{}' is there twice", name));
        const bool scoped = in_.skip_name("scoped");
        in_.skip_name("required");
        const int loops_outside = std::exchange(loops_, 0);
        std::string ended_by;
        Body body = block("block", line, {"endblock"}, ended_by);
        loops_ = loops_outside;
        if (in_.at_name(name)) in_.next();
        end_tag("endblock");
        StatementPtr made = make_with(line, {}, std::move(body), !scoped);
        blocks_[name] = made.get();
        return made;
    }

    // {% generation %}: a scope of its own.
    StatementPtr parse_scope(int line, const std::string& tag) {
        const std::string end = "end" + tag;
        std::string ended_by;
        Body body = block(tag, line, {end}, ended_by);
        end_tag(end);
        return make_with(line, {}, std::move(body));
    }

    StatementPtr parse_autoescape(int line) {
        ExpressionPtr on = in_.parse_expression();
        std::string ended_by;
        Body body = block("autoescape", line, {"endautoescape"}, ended_by);
        end_tag("endautoescape");
        return make_autoescape(line, std::move(on), std::move(body));
    }

    StatementPtr parse_loader(int line, const std::string& tag) {
        while (in_.peek().kind != Kind::kStatementEnd && in_.peek().kind != Kind::kEnd) in_.next();
        end_tag(tag);
        return make_loader(line, tag);
    }

    StatementPtr parse_jump(int line, const std::string& name) {
        if (loops_ == 0) throw TemplateError(line, name, "stands outside of a loop");
        end_tag(name);
        return make_jump(line, name == "break" ? Flow::kBreak : Flow::kContinue);
    }

    ExpressionParser in_;
    int depth_ = 0;
    int loops_ = 0;  // open around the place at hand
    std::map<std::string, const Statement*, std::less<>> blocks_;
};

}  // namespace

ParsedTemplate parse(std::string_view source) { return Parser(source).run(); }

}  // namespace hetune::jinja
