#include "runtime/text/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "runtime/text/jinja/text.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

using Kind = Token::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}
bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// One kind of line end, and none at the end of the template.
std::string normalise_lines(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
        out += source[i] == '\r' ? '\n' : source[i];
    }
    if (out.ends_with('\n')) out.pop_back();
    return out;
}

class Lexer {
  public:
    explicit Lexer(std::string_view source) : source_(normalise_lines(source)), rest_(source_) {}

    std::vector<Token> run() {
        while (!rest_.empty()) text_and_tag();
        add(Kind::kEnd, "");
        return std::move(tokens_);
    }

  private:
    [[noreturn]] void fail(std::string_view construct, std::string_view what) const {
        throw TemplateError(line_, construct, what);
    }
    void add(Kind kind, std::string value) { tokens_.push_back({kind, std::move(value), line_}); }
    // Takes `bytes` off the front.
    std::string_view take(size_t bytes) {
        const std::string_view taken = rest_.substr(0, bytes);
        line_ += static_cast<int>(std::ranges::count(taken, '\n'));
        rest_.remove_prefix(taken.size());
        return taken;
    }
    void take_blanks() {
        while (!rest_.empty() && is_blank(rest_[0])) take(1);
    }

    void text_and_tag() {
        size_t at = rest_.find('{');
        while (at != std::string_view::npos &&
               (at + 1 == rest_.size() ||
                std::string_view("{%#").find(rest_[at + 1]) == std::string_view::npos))
            at = rest_.find('{', at + 1);
        if (at == std::string_view::npos) {
            add_text(rest_);
            take(rest_.size());
            return;
        }
        const char tag = rest_[at + 1];
        const char sign = at + 2 < rest_.size() ? rest_[at + 2] : ' ';
        add_text(before_tag(rest_.substr(0, at), tag, sign));
        take(at + 2);
        if (sign == '-' || sign == '+') take(1);
        if (tag == '#')
            comment();
        else if (tag == '{')
            expression(Kind::kOutput, Kind::kOutputEnd, "}}");
        else if (!raw_block())
            expression(Kind::kStatement, Kind::kStatementEnd, "%}");
    }

    void add_text(std::string_view text) {
        if (!text.empty()) add(Kind::kText, std::string(text));
    }

    // `text` less what the sign of the tag behind it, or lstrip_blocks, takes off its end.
    std::string_view before_tag(std::string_view text, char tag, char sign) const {
        if (sign == '-') return strip(text, "", false, true);
        if (tag == '{' || sign == '+') return text;
        const size_t newline = text.rfind('\n');
        if (newline == std::string_view::npos && !at_line_start_) return text;
        const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
        return std::ranges::all_of(text.substr(line), is_blank) ? text.substr(0, line) : text;
    }

    // What follows a tag: `-` takes all white space, a block or comment one line end.
    void after_tag(char sign, bool trims) {
        at_line_start_ = false;
        if (sign == '-') {
            const size_t blank = rest_.size() - strip(rest_, "", true, false).size();
            at_line_start_ = take(blank).ends_with('\n');
        } else if (sign != '+' && trims && rest_.starts_with('\n')) {
            take(1);
            at_line_start_ = true;
        }
    }

    void comment() {
        const size_t end = rest_.find("#}");
        if (end == std::string_view::npos) fail("comment", "'#}' is missing");
        const char sign = end > 0 ? rest_[end - 1] : ' ';
        take(end + 2);
        after_tag(sign, true);
    }

    // {% raw %} ... {% endraw %}; false when the tag is another.
    bool raw_block() {
        const auto tag_bytes = [](std::string_view text, std::string_view name, char& sign) {
            size_t at = 0;
            while (at < text.size() && is_blank(text[at])) ++at;
            if (!text.substr(at).starts_with(name)) return size_t{0};
            at += name.size();
            while (at < text.size() && is_blank(text[at])) ++at;
            sign = at < text.size() ? text[at] : ' ';
            if (sign == '-' || sign == '+') ++at;
            return text.substr(at).starts_with("%}") ? at + 2 : size_t{0};
        };
        char sign = ' ';
        const size_t begin = tag_bytes(rest_, "raw", sign);
        if (begin == 0) return false;
        take(begin);
        after_tag(sign, false);
        for (size_t at = rest_.find("{%"); at != std::string_view::npos;
             at = rest_.find("{%", at + 2)) {
            const char open_sign = at + 2 < rest_.size() ? rest_[at + 2] : ' ';
            const size_t skip = open_sign == '-' || open_sign == '+' ? 3 : 2;
            const size_t bytes = tag_bytes(rest_.substr(at + skip), "endraw", sign);
            if (bytes == 0) continue;
            add_text(before_tag(rest_.substr(0, at), '%', open_sign));
            take(at + skip + bytes);
            after_tag(sign, true);
            return true;
        }
        fail("raw", "'{% endraw %}' is missing");
    }

    void expression(Kind begin, Kind end, std::string_view close) {
        add(begin, "");
        const int first_line = line_;
        std::string open;  // brackets: within them `}}` closes two dicts and no tag
        while (true) {
            take_blanks();
            if (rest_.empty())
                throw TemplateError(first_line, "tag",
                                    open.empty() ? fmt::format("'{}' is missing", close)
                                                 : fmt::format("'{}' is not closed", open.back()));
            const char sign = rest_[0] == '-' || rest_[0] == '+' ? rest_[0] : ' ';
            if (open.empty() && rest_.substr(sign == ' ' ? 0 : 1).starts_with(close)) {
                take(sign == ' ' ? 2 : 3);
                add(end, "");
                after_tag(sign, end == Kind::kStatementEnd);
                return;
            }
            one_token();
            if (tokens_.back().kind == Kind::kOperator) follow_brackets(tokens_.back(), open);
        }
    }

    static void follow_brackets(const Token& token, std::string& open) {
        const char c = token.value[0];
        if (c == '(' || c == '[' || c == '{') open += c;
        const char opening = c == ')' ? '(' : c == ']' ? '[' : c == '}' ? '{' : '\0';
        if (opening == '\0') return;
        if (open.empty() || open.back() != opening)
            throw TemplateError(token.line, "tag",
                                open.empty()
                                    ? fmt::format("'{}' closes nothing", c)
                                    : fmt::format("'{}' cannot close '{}'", c, open.back()));
        open.pop_back();
    }

    void one_token() {
        const char c = rest_[0];
        if (is_name_start(c)) {
            size_t end = 1;
            while (end < rest_.size() && (is_name_start(rest_[end]) || is_digit(rest_[end]))) ++end;
            return add(Kind::kName, std::string(take(end)));
        }
        if (is_digit(c)) return number();
        if (c == '\'' || c == '"') return string();
        static constexpr std::array<std::string_view, 6> kLong = {
            "==", "!=", "<=", ">=", "//", "**"};
        for (std::string_view op : kLong)
            if (rest_.starts_with(op)) return add(Kind::kOperator, std::string(take(2)));
        if (std::string_view("+-*/%~<>=()[]{}.,:|").find(c) == std::string_view::npos)
            fail("expression", fmt::format("'{}' is no operator", characters(rest_)[0]));
        add(Kind::kOperator, std::string(take(1)));
    }

    void number() {
        size_t end = 0;
        // 0x1f, 0o17, 0b11
        if (rest_.size() > 2 && rest_[0] == '0' &&
            std::string_view("xXoObB").find(rest_[1]) != std::string_view::npos) {
            end = 2;
            while (end < rest_.size() && (is_name_start(rest_[end]) || is_digit(rest_[end]))) ++end;
            std::string text(take(end));
            std::erase(text, '_');
            return add(Kind::kInteger, std::move(text));
        }
        const auto digits = [&] {
            while (end < rest_.size() && (is_digit(rest_[end]) || rest_[end] == '_')) ++end;
        };
        const auto digit_at = [&](size_t at) { return at < rest_.size() && is_digit(rest_[at]); };
        digits();
        bool is_float = false;
        if (end < rest_.size() && rest_[end] == '.' && digit_at(end + 1)) {
            is_float = true;
            ++end;
            digits();
        }
        if (end < rest_.size() && (rest_[end] == 'e' || rest_[end] == 'E')) {
            const size_t sign =
                end + 1 < rest_.size() && (rest_[end + 1] == '-' || rest_[end + 1] == '+') ? 1 : 0;
            if (digit_at(end + 1 + sign)) {
                is_float = true;
                end += 1 + sign;
                digits();
            }
        }
        std::string text(take(end));
        std::erase(text, '_');
        add(is_float ? Kind::kFloat : Kind::kInteger, std::move(text));
    }

    void string() {
        const char quote = rest_[0];
        size_t end = 1;
        while (end < rest_.size() && rest_[end] != quote) end += rest_[end] == '\\' ? 2 : 1;
        if (end >= rest_.size()) fail("string", fmt::format("the closing {} is missing", quote));
        Token token{Kind::kString, unescape(rest_.substr(1, end - 1)), line_};
        take(end + 1);
        tokens_.push_back(std::move(token));
    }

    // Python's escapes. An unknown one stays as it is.
    std::string unescape(std::string_view text) const {
        std::string out;
        while (!text.empty()) {
            const size_t slash = std::min(text.find('\\'), text.size());
            out += text.substr(0, slash);
            text.remove_prefix(slash);
            if (text.empty()) break;
            const char c = text[1];  // there is one: the string did not end behind the backslash
            text.remove_prefix(2);
            static constexpr std::string_view kFrom = "ntr\\'\"abfv";
            static constexpr std::string_view kTo = "\n\t\r\\'\"\a\b\f\v";
            if (const size_t known = kFrom.find(c); known != std::string_view::npos) {
                out += kTo[known];
            } else if (c == 'x' || c == 'u' || c == 'U') {
                const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
                out += code_point(text, digits, 16);
            } else if (c >= '0' && c <= '7') {
                text = std::string_view(text.data() - 1, text.size() + 1);
                size_t digits = 1;
                while (digits < 3 && digits < text.size() && text[digits] >= '0' &&
                       text[digits] <= '7')
                    ++digits;
                out += code_point(text, digits, 8);
            } else if (c != '\n') {  // a backslash at the end of a line joins it to the next
                out += '\\';
                out += c;
            }
        }
        return out;
    }

    std::string code_point(std::string_view& text, size_t digits, int base) const {
        uint32_t value = 0;
        const std::string_view number = text.substr(0, digits);
        const auto [end, error] =
            std::from_chars(number.data(), number.data() + number.size(), value, base);
        if (error != std::errc() || end != number.data() + digits)
            fail("string", "an escape lacks digits");
        text.remove_prefix(digits);
        if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
            fail("string", fmt::format("the escape U+{:04X} is no character", value));
        std::string out;
        append_utf8(out, value);
        return out;
    }

    std::string source_;
    std::string_view rest_;
    int line_ = 1;
    bool at_line_start_ = true;
    std::vector<Token> tokens_;
};

}  // namespace

TemplateError::TemplateError(int line, std::string_view construct, std::string_view what)
    : std::runtime_error(fmt::format("line {}, {}: {}", line, construct, what)) {}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace hetune::jinja
