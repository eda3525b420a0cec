#include "runtime/text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/print.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

constexpr int64_t kMaxWidth = 1 << 20;

void bound(const std::string& out) {
    if (out.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
}

// [[fill]align][sign][#][0][width][grouping][.precision][type]
struct Spec {
    std::string fill = " ";
    char align = 0;  // < > ^ =; 0: as the type has it
    char sign = '-';
    bool alternate = false;
    int64_t width = 0;
    char grouping = 0;
    int64_t precision = -1;
    char type = 0;
};

// The number at the front of `text`, which loses it; -1 where there is none.
int64_t take_number(std::string_view& text) {
    int64_t value = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || text[0] < '0' || text[0] > '9') return -1;
    if (error != std::errc() || value > kMaxWidth)
        throw Fault("the width of a format is too large");
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return value;
}

bool take(std::string_view& text, char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
}

Spec parse_spec(std::string_view text) {
    constexpr std::string_view kAligns = "<>^=";
    const auto is_align = [&](size_t at) {
        return at < text.size() && kAligns.find(text[at]) != std::string_view::npos;
    };
    Spec spec;
    const std::string whole(text);
    if (!text.empty()) {
        const auto first = static_cast<size_t>(first_utf8(text).bytes);
        if (is_align(first)) {
            spec.fill = text.substr(0, first);
            spec.align = text[first];
            text.remove_prefix(first + 1);
        } else if (is_align(0)) {
            spec.align = text[0];
            text.remove_prefix(1);
        }
    }
    for (const char sign : {'+', '-', ' '})
        if (take(text, sign)) spec.sign = sign;
    spec.alternate = take(text, '#');
    if (take(text, '0') && spec.align == 0) {
        spec.fill.assign(1, '0');
        spec.align = '=';
    }
    spec.width = std::max<int64_t>(take_number(text), 0);
    for (const char grouping : {',', '_'})
        if (take(text, grouping)) spec.grouping = grouping;
    if (take(text, '.')) {
        spec.precision = take_number(text);
        if (spec.precision < 0) throw Fault("a format lacks its precision");
    }
    if (!text.empty()) {
        spec.type = text[0];
        text.remove_prefix(1);
    }
    if (!text.empty()) throw Fault(fmt::format("'{}' is no format", whole));
    return spec;
}

std::string padded(const std::string& sign, const std::string& body, const Spec& spec,
                   char default_align) {
    const int64_t size = count_characters(sign) + count_characters(body);
    const int64_t missing = std::max<int64_t>(spec.width - size, 0);
    const char align = spec.align != 0 ? spec.align : default_align;
    const int64_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
    const auto fill = [&](int64_t count) {
        std::string out;
        for (int64_t i = 0; i < count; ++i) out += spec.fill;
        return out;
    };
    if (align == '=') return sign + fill(missing) + body;
    return fill(before) + sign + body + fill(missing - before);
}

// Separators between groups of digits, from the right.
std::string grouped(const std::string& digits, char separator, size_t group) {
    if (separator == 0) return digits;
    std::string out;
    for (size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % group == 0) out += separator;
        out += digits[i];
    }
    return out;
}

std::string sign_text(bool negative, char sign) {
    if (negative) return "-";
    return sign == '-' ? "" : std::string(1, sign);
}

std::string integer_text(const Integer& value, const Spec& spec) {
    const bool negative = Integer::compare(value, Integer(0)) < 0;
    const Integer size = negative ? -value : value;
    const char type = spec.type == 0 || spec.type == 'n' ? 'd' : spec.type;
    if (spec.precision >= 0) throw Fault("a format of an integer has no precision");
    const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    std::string digits = size.text(base);
    if (type == 'X') digits = upper(digits);
    if (type == 'c') {
        digits.clear();
        const int64_t code = value.small();
        if (code < 0 || code > 0x10FFFF) throw Fault("%c has no such character");
        append_utf8(digits, static_cast<char32_t>(code));
        return padded("", digits, spec, '<');
    }
    std::string prefix = sign_text(negative, spec.sign);
    if (spec.alternate && base != 10) prefix += std::string("0") + type;
    std::string body = grouped(digits, spec.grouping, base == 10 ? 3 : 4);
    // Zeros in front are grouped too.
    if (spec.grouping != 0 && spec.fill == "0" && spec.align == '=')
        while (static_cast<int64_t>(prefix.size() + body.size()) < spec.width) {
            digits = '0' + digits;
            body = grouped(digits, spec.grouping, base == 10 ? 3 : 4);
        }
    return padded(prefix, body, spec, '>');
}

std::string float_body(double size, const Spec& spec) {
    const char type = spec.type;
    const bool upper_case = type == 'E' || type == 'F' || type == 'G';
    if (!std::isfinite(size)) {
        const std::string text = std::isnan(size) ? "nan" : "inf";
        return upper_case ? upper(text) : text;
    }
    if (spec.precision > 2000) throw Fault("the precision of a format is too large");
    const auto precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
    if (type == '%') return fmt::format("{:.{}f}%", size * 100, precision);
    if (type == 0 || type == 'n') {
        if (spec.precision < 0) return float_text(size);
        // As g, but with a digit behind the point, and an exponent where repr() has one.
        std::string text = fmt::format("{:.{}g}", size, std::max(precision, 1));
        if (text.find_first_of(".e") == std::string::npos) text += ".0";
        return text;
    }
    if (type == 'f' || type == 'F') return fmt::format("{:.{}f}", size, precision);
    if (type == 'e') return fmt::format("{:.{}e}", size, precision);
    if (type == 'E') return fmt::format("{:.{}E}", size, precision);
    if (type == 'g') return fmt::format("{:.{}g}", size, std::max(precision, 1));
    if (type == 'G') return fmt::format("{:.{}G}", size, std::max(precision, 1));
    throw Fault(fmt::format("'{}' is no format of a float", type));
}

std::string real_text(double value, const Spec& spec) {
    const bool negative = std::signbit(value) && !std::isnan(value);
    std::string body = float_body(std::abs(value), spec);
    if (spec.grouping != 0) {
        const size_t whole = std::min(body.find_first_of(".e"), body.size());
        body = grouped(body.substr(0, whole), spec.grouping, 3) + body.substr(whole);
    }
    return padded(sign_text(negative, spec.sign), body, spec, '>');
}

std::string cut(std::string text, int64_t most) {
    if (most < 0 || count_characters(text) <= most) return text;
    std::string out;
    for (std::string_view character : characters(text)) {
        if (most-- <= 0) break;
        out += character;
    }
    return out;
}

// format(value, spec)
std::string formatted(const Value& value, std::string_view text) {
    if (text.empty()) return value.print();
    value.need_defined();
    const Spec spec = parse_spec(text);
    if (value.is_text()) {
        if ((spec.type != 0 && spec.type != 's') || spec.align == '=' || spec.sign != '-')
            throw Fault(fmt::format("'{}' is no format of a string", text));
        return padded("", cut(value.as_text(), spec.precision), spec, '<');
    }
    if (value.is_float()) return real_text(value.as_double(), spec);
    if (value.is_whole() && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos &&
        spec.type != 0)
        return real_text(value.as_double(), spec);
    if (value.is_integer() || (value.is_bool() && spec.type != 0))
        return integer_text(value.as_integer(), spec);
    if (value.is_bool()) return integer_text(value.as_integer(), spec);
    throw Fault(fmt::format("'{}' is no format of {}", text, value.kind()));
}

class Braces {
  public:
    Braces(const Arguments& arguments, bool safe) : arguments_(arguments), safe_(safe) {}

    std::string run(std::string_view pattern, int depth) {
        if (depth > 2) throw Fault("formats nest too deeply");
        std::string out;
        while (!pattern.empty()) {
            const char c = pattern[0];
            if ((c == '{' || c == '}') && pattern.size() > 1 && pattern[1] == c) {
                out += c;
                pattern.remove_prefix(2);
            } else if (c == '}') {
                throw Fault("a single '}' stands in a format");
            } else if (c != '{') {
                const size_t end = std::min(pattern.find_first_of("{}"), pattern.size());
                out += pattern.substr(0, end);
                pattern.remove_prefix(end);
            } else {
                out += field(take_field(pattern), depth);
            }
            bound(out);
        }
        return out;
    }

  private:
    // What stands between the braces at the front of `pattern`, which loses them.
    static std::string_view take_field(std::string_view& pattern) {
        int open = 0;
        for (size_t i = 0; i < pattern.size(); ++i) {
            if (pattern[i] == '{') ++open;
            if (pattern[i] == '}' && --open == 0) {
                const std::string_view inner = pattern.substr(1, i - 1);
                pattern.remove_prefix(i + 1);
                return inner;
            }
        }
        throw Fault("'}' is missing in a format");
    }

    std::string field(std::string_view text, int depth) {
        size_t end = 0;  // of the name; brackets may hold any character
        for (bool in_brackets = false; end < text.size(); ++end) {
            if (text[end] == '[') in_brackets = true;
            if (text[end] == ']') in_brackets = false;
            if (!in_brackets && (text[end] == '!' || text[end] == ':')) break;
        }
        Value value = lookup(text.substr(0, end));
        text.remove_prefix(end);
        if (take(text, '!')) {
            if (text.empty()) throw Fault("a conversion is missing in a format");
            const char conversion = text[0];
            text.remove_prefix(1);
            if (conversion == 's')
                value = Value::text(value.print());
            else if (conversion == 'r')
                value = Value::text(repr(value));
            else if (conversion == 'a')
                value =
                    Value::text(value.is_text() ? text_repr(value.as_text(), true) : repr(value));
            else
                throw Fault(fmt::format("!{} is no conversion of a format", conversion));
            if (!text.empty() && text[0] != ':') throw Fault("':' is missing in a format");
        }
        take(text, ':');
        const std::string out = formatted(value, run(text, depth + 1));
        return safe_ && !value.is_safe() ? escape_html(out) : out;
    }

    Value lookup(std::string_view name) {
        const size_t end = std::min(name.find_first_of(".["), name.size());
        Value value = first(name.substr(0, end));
        name.remove_prefix(end);
        while (!name.empty()) {
            if (take(name, '.')) {
                const size_t stop = std::min(name.find_first_of(".["), name.size());
                value = attribute(value, std::string(name.substr(0, stop)));
                name.remove_prefix(stop);
            } else if (take(name, '[')) {
                const size_t stop = name.find(']');
                if (stop == std::string_view::npos) throw Fault("']' is missing in a format");
                const auto number = Integer::parse(name.substr(0, stop), 10);
                value = item(value, number ? Value::of(*number)
                                           : Value::text(std::string(name.substr(0, stop))));
                name.remove_prefix(stop + 1);
            } else {
                throw Fault("only '.' or '[' may follow ']' in a format");
            }
        }
        return value;
    }

    Value first(std::string_view name) {
        int64_t position = 0;
        if (name.empty()) {
            if (numbered_) throw Fault("a format mixes {} and {0}");
            position = next_++;
        } else {
            const auto [end, error] =
                std::from_chars(name.data(), name.data() + name.size(), position);
            if (error != std::errc() || end != name.data() + name.size()) {
                for (const auto& [key, value] : arguments_.named)
                    if (key == name) return value;
                throw Fault(fmt::format("a format needs '{}'", name));
            }
            if (next_ > 0) throw Fault("a format mixes {} and {0}");
            numbered_ = true;
        }
        if (position < 0 || position >= static_cast<int64_t>(arguments_.positional.size()))
            throw Fault(
                fmt::format("a format needs more than {} values", arguments_.positional.size()));
        return arguments_.positional[static_cast<size_t>(position)];
    }

    const Arguments& arguments_;
    bool safe_;
    bool numbered_ = false;
    int64_t next_ = 0;
};

// One %-field: its flags, width and precision are those of C.
std::string percent_field(char type, const Value& value, Spec spec, bool left, bool zero) {
    if (type == 's' || type == 'r' || type == 'a') {
        const std::string text = type == 's'       ? value.print()
                                 : type == 'r'     ? repr(value)
                                 : value.is_text() ? text_repr(value.as_text(), true)
                                                   : repr(value);
        spec.align = left ? '<' : '>';
        spec.fill.assign(1, ' ');
        return padded("", cut(text, spec.precision), spec, '>');
    }
    if (left)
        spec.align = '<';
    else if (zero)
        spec.fill.assign(1, '0'), spec.align = '=';
    if (type == 'c' && value.is_text()) {
        if (count_characters(value.as_text()) != 1) throw Fault("%c needs one character");
        return padded("", value.as_text(), spec, '>');
    }
    if (std::string_view("dioxXcu").find(type) != std::string_view::npos) {
        const Integer whole = value.is_float() && (type == 'd' || type == 'i' || type == 'u')
                                  ? Integer::of_double(value.as_double())
                                  : value.as_integer();
        spec.type = type == 'i' || type == 'u' ? 'd' : type;
        std::string digits;
        if (const int64_t least = std::exchange(spec.precision, -1); least > 0) {
            const bool negative = Integer::compare(whole, Integer(0)) < 0;
            digits = integer_text(negative ? -whole : whole, Spec{.type = spec.type});
            if (static_cast<int64_t>(digits.size()) < least)
                digits = std::string(static_cast<size_t>(least) - digits.size(), '0') + digits;
            return padded(sign_text(negative, spec.sign), digits, spec, '>');
        }
        return integer_text(whole, spec);
    }
    if (std::string_view("eEfFgG").find(type) != std::string_view::npos) {
        spec.type = type;
        return real_text(value.as_double(), spec);
    }
    throw Fault(fmt::format("'%{}' is no format", type));
}

}  // namespace

Value format_percent(const Value& pattern, const Value& values) {
    std::string_view text = pattern.as_text();
    const std::vector<Value> tuple =
        values.is_tuple() ? values.sequence()->items : std::vector<Value>{values};
    size_t used = 0;
    bool by_name = false;
    std::string out;
    const auto next = [&]() -> const Value& {
        if (used >= tuple.size()) throw Fault("the format needs more values");
        return tuple[used++];
    };
    while (!text.empty()) {
        const size_t plain = std::min(text.find('%'), text.size());
        out += text.substr(0, plain);
        text.remove_prefix(plain);
        if (text.empty()) break;
        text.remove_prefix(1);
        Value named;
        bool has_name = false;
        if (take(text, '(')) {
            const size_t end = text.find(')');
            if (end == std::string_view::npos) throw Fault("')' is missing in a format");
            if (values.dict() == nullptr) throw Fault("the format needs a dict");
            const Value key = Value::text(std::string(text.substr(0, end)));
            const Value* found = values.dict()->find(key);
            if (found == nullptr) throw Fault(fmt::format("the dict has no {}", repr(key)));
            named = *found;
            has_name = by_name = true;
            text.remove_prefix(end + 1);
        }
        Spec spec;
        bool left = false, zero = false;
        while (!text.empty() && std::string_view("-+ #0").find(text[0]) != std::string_view::npos) {
            left |= text[0] == '-';
            zero |= text[0] == '0';
            spec.alternate |= text[0] == '#';
            if (text[0] == '+' || (text[0] == ' ' && spec.sign != '+')) spec.sign = text[0];
            text.remove_prefix(1);
        }
        const auto number = [&] {
            if (take(text, '*')) return std::min(next().as_int64(), kMaxWidth);
            return std::max<int64_t>(take_number(text), 0);
        };
        spec.width = number();
        if (spec.width < 0) {
            left = true;
            spec.width = -std::max(spec.width, -kMaxWidth);
        }
        if (take(text, '.')) spec.precision = std::max<int64_t>(number(), 0);
        while (!text.empty() && std::string_view("hlL").find(text[0]) != std::string_view::npos)
            text.remove_prefix(1);
        if (text.empty()) throw Fault("the format ends too early");
        const char type = text[0];
        text.remove_prefix(1);
        if (type == '%') {
            out += '%';
            continue;
        }
        const Value& value = has_name ? named : next();
        const std::string field = percent_field(type, value, spec, left, zero);
        out += pattern.is_safe() && !value.is_safe() && !value.is_number() ? escape_html(field)
                                                                           : field;
        bound(out);
    }
    const bool all_used = by_name || used >= tuple.size() || values.is_dict() ||
                          values.is_list();  // Python counts lists as mappings here
    if (!all_used) throw Fault("the format does not use all values");
    return Value::text(std::move(out), pattern.is_safe());
}

Value format_braces(const Value& pattern, const Arguments& arguments) {
    Braces braces(arguments, pattern.is_safe());
    return Value::text(braces.run(pattern.as_text(), 0), pattern.is_safe());
}

}  // namespace hetune::jinja
