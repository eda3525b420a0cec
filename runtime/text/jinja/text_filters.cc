// The filters of builtins.h that make text.
#include <algorithm>
#include <cmath>

#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/print.h"
#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

// A safe text stays one.
Value like(const Value& input, std::string text) {
    return Value::text(std::move(text), input.is_safe());
}

template <std::string (*kChange)(std::string_view)>
Value changed(const Value& input, const Arguments& arguments) {
    arguments.check({});
    return like(input, kChange(input.print()));
}

// Jinja's own: a word begins behind white space and - ( { [ <.
std::string title_words(std::string_view text) {
    std::string out;
    std::string word;
    const auto flush = [&] {
        const auto all = characters(word);
        for (size_t i = 0; i < all.size(); ++i)
            if (i == 0) out += upper(all[0]);
        if (!all.empty()) out += lower(std::string_view(word).substr(all[0].size()));
        word.clear();
    };
    for (std::string_view character : characters(text)) {
        if (is_space(first_utf8(character).code_point) ||
            std::string_view("-({[<").find(character) != std::string_view::npos) {
            flush();
            out += character;
        } else {
            word += character;
        }
    }
    flush();
    return out;
}

Value text_filter(const Value& input, const Arguments& arguments) {
    arguments.check({});
    return input.is_text() ? input : Value::text(input.print());
}

Value safe(const Value& input, const Arguments& arguments) {
    arguments.check({});
    return Value::text(input.print(), true);
}

Value escape(const Value& input, const Arguments& arguments) {
    arguments.check({});
    return input.is_safe() ? input : Value::text(escape_html(input.print()), true);
}

Value force_escape(const Value& input, const Arguments& arguments) {
    arguments.check({});
    return Value::text(escape_html(input.print()), true);
}

Value replace_filter(const Value& input, const Arguments& arguments) {
    arguments.check({"old", "new", "count"});
    return Value::text(replace(input.print(), arguments.need(0, "old").print(),
                               arguments.need(1, "new").print(),
                               arguments.integer(2, "count").value_or(-1)));
}

Value trim(const Value& input, const Arguments& arguments) {
    arguments.check({"chars"});
    const Value* set = arguments.find(0, "chars");
    const bool blanks = set == nullptr || set->is_none();
    if (!blanks && set->as_text().empty()) return Value::text(input.print());
    return like(input, std::string(strip(input.print(), blanks ? "" : set->as_text(), true, true)));
}

Value indent(const Value& input, const Arguments& arguments) {
    arguments.check({"width", "first", "blank"});
    const Value* width = arguments.find(0, "width");
    const std::string margin =
        width == nullptr ? std::string(4, ' ')
        : width->is_text()
            ? width->as_text()
            : std::string(static_cast<size_t>(std::clamp<int64_t>(width->as_int64(), 0, 1000)),
                          ' ');
    const bool blank = arguments.flag(2, "blank");
    std::string text = arguments.flag(1, "first") ? margin : "";
    const std::string source = input.as_text() + '\n';
    bool first = true;
    for (std::string_view line : split_lines(source)) {
        if (!first) text += '\n';
        if (!first && (blank || !line.empty())) text += margin;
        text += line;
        first = false;
        if (text.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
    }
    return like(input, std::move(text));
}

Value format_filter(const Value& input, const Arguments& arguments) {
    if (!arguments.positional.empty() && !arguments.named.empty())
        throw Fault("takes values or named values, not both");
    const Value pattern = input.is_text() ? input : Value::text(input.print());
    if (arguments.named.empty()) return format_percent(pattern, Value::tuple(arguments.positional));
    auto dict = std::make_shared<Dict>();
    for (const auto& [name, value] : arguments.named) dict->set(Value::text(name), value);
    return format_percent(pattern, Value::of(std::move(dict)));
}

Value center(const Value& input, const Arguments& arguments) {
    arguments.check({"width"});
    const Value text = input.is_text() ? input : Value::text(input.print());
    const Value width = Value::of(arguments.integer(0, "width").value_or(80));
    return find_text_method(text, "center").call({.positional = {width}});
}

Value truncate(const Value& input, const Arguments& arguments) {
    arguments.check({"length", "killwords", "end", "leeway"});
    const Value* given = arguments.find(2, "end");
    const std::string end = given == nullptr ? "..." : given->as_text();
    const int64_t length = arguments.integer(0, "length").value_or(255);
    const int64_t leeway = arguments.integer(3, "leeway").value_or(5);
    const int64_t kept = length - count_characters(end);
    if (kept < 0) throw Fault("the length is less than that of what marks the end");
    if (leeway < 0) throw Fault("the leeway is negative");
    if (input.length() <= length + leeway) return input;
    const auto all = characters(input.as_text());
    std::string out;
    for (int64_t i = 0; i < kept; ++i) out += all[static_cast<size_t>(i)];
    if (!arguments.flag(1, "killwords"))
        if (const size_t space = out.rfind(' '); space != std::string::npos) out.resize(space);
    return like(input, out + end);
}

bool is_word_character(std::string_view character) {
    return character == "_" || is_all(character, "alnum");
}

Value wordcount(const Value& input, const Arguments& arguments) {
    arguments.check({});
    int64_t count = 0;
    bool in_word = false;
    const std::string text = input.print();
    for (std::string_view character : characters(text)) {
        const bool is_word = is_word_character(character);
        count += is_word && !in_word ? 1 : 0;
        in_word = is_word;
    }
    return Value::of(count);
}

// The pieces at whose ends a line may end, as Python's textwrap has them: runs of spaces, words,
// and parts of words up to a hyphen between letters.
std::vector<std::string> wrap_pieces(std::string_view line, bool at_hyphens) {
    std::vector<std::string> pieces;
    const auto all = characters(line);
    const auto is_blank = [&](size_t i) {
        return std::string_view("\t\n\v\f\r ").find(all[i]) != std::string_view::npos;
    };
    const auto is_letter = [&](size_t i) {
        return i < all.size() && is_word_character(all[i]) && !is_all(all[i], "digit");
    };
    std::string piece;
    for (size_t i = 0; i < all.size(); ++i) {
        if (i > 0 && is_blank(i) != is_blank(i - 1) && !piece.empty()) {
            pieces.push_back(std::move(piece));
            piece.clear();
        }
        piece += all[i];
        const bool hyphen = at_hyphens && all[i] == "-" && i >= 2 && is_letter(i - 1) &&
                            is_letter(i - 2) && is_letter(i + 1) && is_letter(i + 2);
        if (!hyphen) continue;
        pieces.push_back(std::move(piece));
        piece.clear();
    }
    if (!piece.empty()) pieces.push_back(std::move(piece));
    return pieces;
}

// textwrap.wrap without expand_tabs and replace_whitespace.
std::vector<std::string> wrapped(std::string_view line, int64_t width, bool break_long,
                                 bool at_hyphens) {
    std::vector<std::string> pieces = wrap_pieces(line, at_hyphens);
    std::ranges::reverse(pieces);  // the next one is the last
    const auto is_blank = [](const std::string& piece) {
        return strip(piece, "", true, true).empty();
    };
    std::vector<std::string> lines;
    while (!pieces.empty()) {
        std::vector<std::string> current;
        int64_t size = 0;
        if (is_blank(pieces.back()) && !lines.empty()) pieces.pop_back();
        while (!pieces.empty() && size + count_characters(pieces.back()) <= width) {
            size += count_characters(pieces.back());
            current.push_back(std::move(pieces.back()));
            pieces.pop_back();
        }
        if (!pieces.empty() && count_characters(pieces.back()) > width) {
            if (break_long) {
                const std::string whole = pieces.back();
                const auto all = characters(whole);
                const int64_t room = std::max<int64_t>(width - size, 1);
                std::string head;
                for (int64_t i = 0; i < room; ++i) head += all[static_cast<size_t>(i)];
                pieces.back() = whole.substr(head.size());
                current.push_back(std::move(head));
            } else if (current.empty()) {
                current.push_back(std::move(pieces.back()));
                pieces.pop_back();
            }
        }
        if (!current.empty() && is_blank(current.back())) current.pop_back();
        if (current.empty()) continue;
        std::string text;
        for (const std::string& piece : current) text += piece;
        lines.push_back(std::move(text));
    }
    return lines;
}

Value wordwrap(const Value& input, const Arguments& arguments) {
    arguments.check({"width", "break_long_words", "wrapstring", "break_on_hyphens"});
    const int64_t width = arguments.integer(0, "width").value_or(79);
    if (width <= 0) throw Fault("the width must be above 0");
    const Value* given = arguments.find(2, "wrapstring");
    const std::string separator = given == nullptr || given->is_none() ? "\n" : given->as_text();
    std::string out;
    bool first = true;
    for (std::string_view line : split_lines(input.as_text())) {
        std::string joined;
        for (const std::string& part :
             wrapped(line, width, arguments.flag(1, "break_long_words", true),
                     arguments.flag(3, "break_on_hyphens", true)))
            joined.append(joined.empty() ? "" : separator).append(part);
        out.append(first ? "" : separator).append(joined);
        first = false;
    }
    return Value::text(std::move(out));
}

std::string quote_url(std::string_view text, std::string_view also) {
    std::string out;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') ||
                           std::string_view("_.-~").find(c) != std::string_view::npos ||
                           also.find(c) != std::string_view::npos;
        out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
    return out;
}

Value urlencode(const Value& input, const Arguments& arguments) {
    arguments.check({});
    const bool pairs = input.is_dict() || input.is_list() || input.is_tuple() ||
                       input.is_iterator() || input.sequence() != nullptr;
    if (!pairs) return Value::text(quote_url(input.print(), "/"));
    std::string out;
    const auto add = [&](const Value& key, const Value& value) {
        // A query writes a space as +.
        const auto part = [](const Value& v) {
            return replace(quote_url(v.print(), ""), "%20", "+", -1);
        };
        if (!out.empty()) out += '&';
        out.append(part(key)).append("=").append(part(value));
    };
    if (const Dict* dict = input.dict()) {
        for (const auto& [key, value] : dict->entries) add(key, value);
    } else {
        for (const Value& pair : input.items()) {
            const std::vector<Value> parts = pair.items();
            if (parts.size() != 2) throw Fault("needs pairs");
            add(parts[0], parts[1]);
        }
    }
    return Value::text(std::move(out));
}

// Without tags and comments, entities as characters, and single spaces between words.
Value striptags(const Value& input, const Arguments& arguments) {
    arguments.check({});
    const std::string source = input.print();
    std::string_view rest = source;
    std::string text;
    const auto drop = [&](std::string_view open, std::string_view close) {
        if (!rest.starts_with(open)) return false;
        const size_t end = rest.find(close, open.size());
        if (end == std::string_view::npos) return false;
        rest.remove_prefix(end + close.size());
        return true;
    };
    while (!rest.empty()) {
        if (drop("<!--", "-->") || drop("<", ">")) continue;
        text += rest[0];
        rest.remove_prefix(1);
    }
    std::string joined;
    for (const std::string& word : split(text, "", -1)) {
        if (!joined.empty()) joined += ' ';
        joined += word;
    }
    static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
        {"&lt;", "<"},  {"&gt;", ">"},   {"&quot;", "\""},       {"&#34;", "\""},
        {"&#39;", "'"}, {"&apos;", "'"}, {"&nbsp;", "\xC2\xA0"}, {"&amp;", "&"}};
    for (const auto& [entity, character] : kEntities)
        joined = replace(joined, entity, character, -1);
    return Value::text(std::move(joined));
}

Value xmlattr(const Value& input, const Arguments& arguments) {
    arguments.check({"autospace"});
    if (!input.is_dict()) throw Fault("needs a dict, not " + input.kind());
    std::string out = arguments.flag(0, "autospace", true) ? " " : "";
    const size_t begin = out.size();
    for (const auto& [key, value] : input.dict()->entries) {
        if (value.is_none() || value.is_undefined()) continue;
        if (key.as_text().find_first_of(" \t\n\r\f\v/>=") != std::string::npos)
            throw Fault(fmt::format("{} is no name of an attribute", text_repr(key.as_text())));
        const auto escaped = [](const Value& v) {
            return v.is_safe() ? v.as_text() : escape_html(v.print());
        };
        out += fmt::format("{}{}=\"{}\"", out.size() == begin ? "" : " ", escaped(key),
                           escaped(value));
    }
    return Value::text(out.size() == begin ? "" : out, Rendering::autoescapes());
}

Value filesizeformat(const Value& input, const Arguments& arguments) {
    arguments.check({"binary"});
    const bool binary = arguments.flag(0, "binary");
    const double base = binary ? 1024 : 1000;
    const Value number = find_filter("float")(input, {.positional = {Value::none()}});
    const double bytes = number.as_double();
    if (bytes == 1) return Value::text("1 Byte");
    if (bytes < base) return Value::text(fmt::format("{} Bytes", static_cast<int64_t>(bytes)));
    static constexpr std::string_view kUnits = "kMGTPEZY";
    double unit = base;
    size_t i = 0;
    while (i + 1 < kUnits.size() && bytes >= unit * base) unit *= base, ++i;
    const char prefix = binary && i == 0 ? 'K' : kUnits[i];
    return Value::text(fmt::format("{:.1f} {}{}", bytes / unit, prefix, binary ? "iB" : "B"));
}

Value pprint(const Value& input, const Arguments& arguments) {
    arguments.check({});
    return Value::text(pretty_repr(input));
}

}  // namespace

Filter find_text_filter(std::string_view name) {
    static const std::unordered_map<std::string_view, Filter> kFilters = {
        {"capitalize", changed<capitalize>},
        {"center", center},
        {"e", escape},
        {"escape", escape},
        {"filesizeformat", filesizeformat},
        {"forceescape", force_escape},
        {"format", format_filter},
        {"indent", indent},
        {"lower", changed<lower>},
        {"pprint", pprint},
        {"replace", replace_filter},
        {"safe", safe},
        {"string", text_filter},
        {"striptags", striptags},
        {"title", changed<title_words>},
        {"trim", trim},
        {"truncate", truncate},
        {"upper", changed<upper>},
        {"urlencode", urlencode},
        {"urlize", urlize},
        {"wordcount", wordcount},
        {"wordwrap", wordwrap},
        {"xmlattr", xmlattr},
    };
    const auto found = kFilters.find(name);
    return found == kFilters.end() ? nullptr : found->second;
}

}  // namespace hetune::jinja
