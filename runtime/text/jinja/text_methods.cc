// The methods of Python's str.
#include <algorithm>

#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

using Method = Value (*)(const Value& self, const Arguments& arguments);

// A safe text stays one: what its methods take from elsewhere is escaped.
Value like(const Value& self, std::string text) {
    return Value::text(std::move(text), self.is_safe());
}
std::string argument_text(const Value& self, const Value& argument) {
    return self.is_safe() && !argument.is_safe() ? escape_html(argument.as_text())
                                                 : argument.as_text();
}

// The text at `position`, empty when it is missing or none.
std::string_view optional_text(const Arguments& arguments, size_t position, std::string_view name) {
    const Value* value = arguments.find(position, name);
    return value == nullptr || value->is_none() ? std::string_view() : value->as_text();
}

template <bool kLeft, bool kRight>
Value strip_method(const Value& self, const Arguments& arguments) {
    arguments.check({"chars"});
    const Value* set = arguments.find(0, "chars");
    if (set != nullptr && set->is_text() && set->as_text().empty()) return self;
    return like(self, std::string(strip(self.as_text(), optional_text(arguments, 0, "chars"), kLeft,
                                        kRight)));
}

template <std::string (*kChange)(std::string_view)>
Value changed(const Value& self, const Arguments& arguments) {
    arguments.check({});
    return like(self, kChange(self.as_text()));
}

template <bool kFromRight>
Value split_method(const Value& self, const Arguments& arguments) {
    arguments.check({"sep", "maxsplit"});
    const Value* separator = arguments.find(0, "sep");
    if (separator != nullptr && separator->is_text() && separator->as_text().empty())
        throw Fault("the separator is empty");
    std::vector<Value> parts;
    for (std::string& part : split(self.as_text(), optional_text(arguments, 0, "sep"),
                                   arguments.integer(1, "maxsplit").value_or(-1), kFromRight))
        parts.push_back(like(self, std::move(part)));
    return Value::list(std::move(parts));
}

Value splitlines_method(const Value& self, const Arguments& arguments) {
    arguments.check({"keepends"});
    std::vector<Value> lines;
    for (std::string_view line : split_lines(self.as_text(), arguments.flag(0, "keepends")))
        lines.push_back(like(self, std::string(line)));
    return Value::list(std::move(lines));
}

template <bool kFromRight>
Value partition_method(const Value& self, const Arguments& arguments) {
    arguments.check({"sep"});
    const std::string& text = self.as_text();
    const std::string& separator = arguments.need(0, "sep").as_text();
    if (separator.empty()) throw Fault("the separator is empty");
    const size_t at = kFromRight ? text.rfind(separator) : text.find(separator);
    const auto part = [&](std::string bytes) { return like(self, std::move(bytes)); };
    if (at == std::string::npos) {
        if (kFromRight) return Value::tuple({part(""), part(""), part(text)});
        return Value::tuple({part(text), part(""), part("")});
    }
    return Value::tuple(
        {part(text.substr(0, at)), part(separator), part(text.substr(at + separator.size()))});
}

// text[from:to] of the arguments behind the first one, by Python's rules.
struct Window {
    std::string_view text;
    int64_t begin;  // in characters
    bool exists;    // false where it begins behind the end of the text
};

Window window_of(const Value& self, const Arguments& arguments) {
    const std::string& text = self.as_text();
    if (arguments.positional.size() < 2) return {text, 0, true};
    const auto all = characters(text);
    const auto size = static_cast<int64_t>(all.size());
    const auto end_of = [&](size_t position, int64_t fallback) {
        const int64_t at = arguments.integer(position, "").value_or(fallback);
        return std::max<int64_t>(at < 0 ? at + size : at, 0);
    };
    const int64_t begin = end_of(1, 0);
    const int64_t end = std::min(end_of(2, size), size);
    if (begin > size || begin > end) return {"", begin, false};
    const auto offset = [&](int64_t at) {
        return at == size ? text.size()
                          : static_cast<size_t>(all[static_cast<size_t>(at)].data() - text.data());
    };
    return {std::string_view(text).substr(offset(begin), offset(end) - offset(begin)), begin, true};
}

// One affix, or a tuple of which any will do.
template <bool kAtStart>
Value has_affix(const Value& self, const Arguments& arguments) {
    const Window window = window_of(self, arguments);
    const Value& affix = arguments.need(0, "prefix");
    const auto has = [&](const Value& one) {
        const std::string& text = one.as_text();
        return window.exists &&
               (kAtStart ? window.text.starts_with(text) : window.text.ends_with(text));
    };
    if (!affix.is_tuple()) return Value::of(has(affix));
    return Value::of(std::ranges::any_of(affix.sequence()->items, has));
}

template <bool kAtStart>
Value remove_affix(const Value& self, const Arguments& arguments) {
    arguments.check({"affix"});
    const std::string& affix = arguments.need(0, "affix").as_text();
    std::string_view text = self.as_text();
    if (kAtStart && text.starts_with(affix)) text.remove_prefix(affix.size());
    if (!kAtStart && text.ends_with(affix)) text.remove_suffix(affix.size());
    return like(self, std::string(text));
}

Value replace_method(const Value& self, const Arguments& arguments) {
    arguments.check({"old", "new", "count"});
    return like(self, replace(self.as_text(), arguments.need(0, "old").as_text(),
                              argument_text(self, arguments.need(1, "new")),
                              arguments.integer(2, "count").value_or(-1)));
}

Value join_method(const Value& self, const Arguments& arguments) {
    arguments.check({"iterable"});
    std::string text;
    bool first = true;
    for (const Value& element : arguments.need(0, "iterable").items()) {
        if (!first) text += self.as_text();
        first = false;
        text += argument_text(self, element);
        if (text.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
    }
    return like(self, std::move(text));
}

// Counted in characters; -1 when it is not there.
int64_t position_of(const Value& self, const Arguments& arguments, bool from_right) {
    const Window window = window_of(self, arguments);
    const std::string& sub = arguments.need(0, "sub").as_text();
    if (!window.exists) return -1;
    const size_t at = from_right ? window.text.rfind(sub) : window.text.find(sub);
    return at == std::string::npos ? -1
                                   : window.begin + count_characters(window.text.substr(0, at));
}

template <bool kFromRight>
Value find_text(const Value& self, const Arguments& arguments) {
    return Value::of(position_of(self, arguments, kFromRight));
}
template <bool kFromRight>
Value index_text(const Value& self, const Arguments& arguments) {
    const int64_t at = position_of(self, arguments, kFromRight);
    if (at < 0) throw Fault("the text is not in the string");
    return Value::of(at);
}

Value count_text(const Value& self, const Arguments& arguments) {
    const Window window = window_of(self, arguments);
    const std::string& sub = arguments.need(0, "sub").as_text();
    if (!window.exists) return Value::of(0);
    if (sub.empty()) return Value::of(count_characters(window.text) + 1);
    int64_t count = 0;
    for (size_t at = 0; (at = window.text.find(sub, at)) != std::string_view::npos;
         at += sub.size())
        ++count;
    return Value::of(count);
}

// `text` between `before` and `behind` fill characters.
Value filled(const Value& self, int64_t before, int64_t behind, const std::string& fill) {
    std::string text;
    if (std::max(before, behind) > int64_t{1} << 20) throw Fault("the width is too large");
    for (int64_t i = 0; i < before; ++i) text += fill;
    text += self.as_text();
    for (int64_t i = 0; i < behind; ++i) text += fill;
    return like(self, std::move(text));
}

template <char kAlign>
Value justify(const Value& self, const Arguments& arguments) {
    arguments.check({"width", "fillchar"});
    const Value* given = arguments.find(1, "fillchar");
    const std::string fill = given == nullptr ? " " : given->as_text();
    if (count_characters(fill) != 1) throw Fault("the fill character must be one character");
    const int64_t width = arguments.need(0, "width").as_int64();
    const int64_t missing = std::max<int64_t>(width - count_characters(self.as_text()), 0);
    const int64_t before = kAlign == '<'   ? 0
                           : kAlign == '>' ? missing
                                           : missing / 2 + (missing & width & 1);
    return filled(self, before, missing - before, fill);
}

Value zfill_method(const Value& self, const Arguments& arguments) {
    arguments.check({"width"});
    const std::string& text = self.as_text();
    const int64_t missing = arguments.need(0, "width").as_int64() - count_characters(text);
    if (missing <= 0) return self;
    const bool has_sign = text.starts_with('-') || text.starts_with('+');
    const Value digits = like(self, text.substr(has_sign ? 1 : 0));
    const Value wide = filled(digits, missing, 0, "0");
    return has_sign ? like(self, text[0] + wide.as_text()) : wide;
}

Value expandtabs_method(const Value& self, const Arguments& arguments) {
    arguments.check({"tabsize"});
    const int64_t size =
        std::clamp<int64_t>(arguments.integer(0, "tabsize").value_or(8), 0, 1 << 10);
    std::string out;
    int64_t column = 0;
    for (std::string_view character : characters(self.as_text())) {
        if (character == "\t") {
            const int64_t spaces = size == 0 ? 0 : size - column % size;
            out.append(static_cast<size_t>(spaces), ' ');
            column += spaces;
        } else {
            out += character;
            column = character == "\n" || character == "\r" ? 0 : column + 1;
        }
    }
    return like(self, std::move(out));
}

Value format_map_method(const Value& self, const Arguments& arguments) {
    arguments.check({"mapping"});
    Arguments named;
    const Value& mapping = arguments.need(0, "mapping");
    if (mapping.dict() == nullptr) throw Fault("needs a dict, not " + mapping.kind());
    for (const auto& [key, value] : mapping.dict()->entries)
        if (key.is_text()) named.named.emplace_back(key.as_text(), value);
    return format_braces(self, named);
}

uint32_t code_point_of(const Value& key) {
    if (key.is_whole()) return static_cast<uint32_t>(key.as_int64());
    if (count_characters(key.as_text()) != 1) throw Fault("a key must be one character");
    return static_cast<uint32_t>(first_utf8(key.as_text()).code_point);
}

// A table of translate(): code points to code points, texts or none.
Value make_table(const Value&, const Arguments& arguments) {
    arguments.check({"x", "y", "z"});
    const Value& from = arguments.need(0, "x");
    auto table = std::make_shared<Dict>();
    if (arguments.positional.size() < 2) {
        if (!from.is_dict()) throw Fault("needs a dict, not " + from.kind());
        for (const auto& [key, value] : from.dict()->entries)
            table->set(Value::of(code_point_of(key)), value);
        return Value::of(std::move(table));
    }
    const std::vector<Value> keys = from.items();
    const std::vector<Value> values = arguments.positional[1].items();
    if (keys.size() != values.size()) throw Fault("the two texts differ in length");
    for (size_t i = 0; i < keys.size(); ++i)
        table->set(Value::of(code_point_of(keys[i])), Value::of(code_point_of(values[i])));
    if (arguments.positional.size() > 2)
        for (const Value& key : arguments.positional[2].items())
            table->set(Value::of(code_point_of(key)), Value::none());
    return Value::of(std::move(table));
}

Value translate(const Value& self, const Arguments& arguments) {
    arguments.check({"table"});
    const Value& table = arguments.need(0, "table");
    if (!table.is_dict()) throw Fault("needs a dict, not " + table.kind());
    std::string out;
    for (std::string_view character : characters(self.as_text())) {
        const auto code = static_cast<uint32_t>(first_utf8(character).code_point);
        const Value* other = table.dict()->find(Value::of(code));
        if (other == nullptr) {
            out += character;
        } else if (other->is_whole()) {
            const int64_t made = other->as_int64();
            if (made < 0 || made > 0x10FFFF || (made >= 0xD800 && made < 0xE000))
                throw Fault(fmt::format("{} is no character", made));
            append_utf8(out, static_cast<char32_t>(made));
        } else if (!other->is_none()) {
            out += argument_text(self, *other);
        }
        if (out.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
    }
    return like(self, std::move(out));
}

}  // namespace

Value find_text_method(const Value& value, std::string_view name) {
    static const std::unordered_map<std::string_view, Method> kMethods = {
        {"capitalize", changed<capitalize>},
        {"casefold", changed<fold_case>},
        {"center", justify<'^'>},
        {"count", count_text},
        {"encode", encode},
        {"endswith", has_affix<false>},
        {"expandtabs", expandtabs_method},
        {"find", find_text<false>},
        {"format", format_braces},
        {"format_map", format_map_method},
        {"index", index_text<false>},
        {"join", join_method},
        {"ljust", justify<'<'>},
        {"lower", changed<lower>},
        {"maketrans", make_table},
        {"lstrip", strip_method<true, false>},
        {"partition", partition_method<false>},
        {"removeprefix", remove_affix<true>},
        {"removesuffix", remove_affix<false>},
        {"replace", replace_method},
        {"rfind", find_text<true>},
        {"rindex", index_text<true>},
        {"rjust", justify<'>'>},
        {"rpartition", partition_method<true>},
        {"rsplit", split_method<true>},
        {"rstrip", strip_method<false, true>},
        {"split", split_method<false>},
        {"splitlines", splitlines_method},
        {"startswith", has_affix<true>},
        {"strip", strip_method<true, true>},
        {"swapcase", changed<swap_case>},
        {"title", changed<title>},
        {"translate", translate},
        {"upper", changed<upper>},
        {"zfill", zfill_method},
    };
    static constexpr std::string_view kClasses[] = {"alnum",     "alpha",      "ascii", "decimal",
                                                    "digit",     "identifier", "lower", "numeric",
                                                    "printable", "space",      "title", "upper"};
    if (name.starts_with("is"))
        for (std::string_view what : kClasses)
            if (name.substr(2) == what)
                return Value::function(std::string(name), [value, what](const Arguments& given) {
                    given.check({});
                    return Value::of(is_all(value.as_text(), what));
                });
    const auto found = kMethods.find(name);
    if (found == kMethods.end()) return Value();
    return Value::function(std::string(name),
                           [value, method = found->second](const Arguments& arguments) {
                               return method(value, arguments);
                           });
}

}  // namespace hetune::jinja
