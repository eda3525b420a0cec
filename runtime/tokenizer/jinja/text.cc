#include "runtime/tokenizer/jinja/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/tokenizer/utf8.h"

namespace hetune::jinja {
namespace {

using Json = nlohmann::ordered_json;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char to_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// Python's repr(float): shortest digits that read back, always with a sign of being a float.
std::string float_text(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

std::string python_string(std::string_view text) {
    const bool has_single = text.find('\'') != std::string_view::npos;
    const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
    std::string out(1, quote);
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == quote || c == '\\')
            out += {'\\', c};
        else if (c == '\n')
            out += "\\n";
        else if (c == '\r')
            out += "\\r";
        else if (c == '\t')
            out += "\\t";
        else if (byte < 0x20 || byte == 0x7F)
            out += fmt::format("\\x{:02x}", byte);
        else
            out += c;
    }
    return out + quote;
}

std::string json_string(std::string_view text, bool ensure_ascii) {
    std::string out = "\"";
    for (std::string_view character : characters(text)) {
        const Utf8Sequence sequence = first_utf8(character);
        const char32_t c = sequence.code_point;
        if (sequence.state != Utf8State::kValid)
            out += ensure_ascii ? "\\ufffd" : kReplacementUtf8;
        else if (c == '"')
            out += "\\\"";
        else if (c == '\\')
            out += "\\\\";
        else if (c == '\n')
            out += "\\n";
        else if (c == '\r')
            out += "\\r";
        else if (c == '\t')
            out += "\\t";
        else if (c == '\b')
            out += "\\b";
        else if (c == '\f')
            out += "\\f";
        else if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000))
            out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
        else if (ensure_ascii && c >= 0x10000)
            out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((c - 0x10000) >> 10),
                               0xDC00 + ((c - 0x10000) & 0x3FF));
        else
            out += character;
    }
    return out + '"';
}

class JsonWriter {
  public:
    explicit JsonWriter(const JsonStyle& style) : style_(style) {}

    void write(const Json& value, int depth) {
        if (value.is_array()) {
            if (value.empty()) return void(out += "[]");
            out += '[';
            for (size_t i = 0; i < value.size(); ++i) {
                separate(i, depth + 1);
                write(value[i], depth + 1);
            }
            new_line(depth);
            out += ']';
        } else if (value.is_object()) {
            if (value.empty()) return void(out += "{}");
            std::vector<std::pair<std::string, const Json*>> entries;
            for (const auto& entry : value.items())
                entries.emplace_back(entry.key(), &entry.value());
            if (style_.sort_keys)
                std::ranges::sort(entries, {}, &std::pair<std::string, const Json*>::first);
            out += '{';
            for (size_t i = 0; i < entries.size(); ++i) {
                separate(i, depth + 1);
                out += json_string(entries[i].first, style_.ensure_ascii) + style_.key_separator;
                write(*entries[i].second, depth + 1);
            }
            new_line(depth);
            out += '}';
        } else if (value.is_string()) {
            out += json_string(value.get_ref<const std::string&>(), style_.ensure_ascii);
        } else if (value.is_number_float()) {
            out += float_text(value.get<double>());
        } else {
            out += value.dump();
        }
    }
    std::string out;

  private:
    void separate(size_t index, int depth) {
        if (index > 0) out += style_.item_separator;
        new_line(depth);
    }
    void new_line(int depth) {
        if (style_.indent < 0) return;
        out += '\n';
        out.append(static_cast<size_t>(style_.indent) * static_cast<size_t>(depth), ' ');
    }

    const JsonStyle& style_;
};

}  // namespace

std::vector<std::string_view> characters(std::string_view text) {
    std::vector<std::string_view> all;
    while (!text.empty()) {
        all.push_back(text.substr(0, static_cast<size_t>(first_utf8(text).bytes)));
        text.remove_prefix(all.back().size());
    }
    return all;
}

bool is_space(char32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view strip(std::string_view text, std::string_view set, bool left, bool right) {
    const auto goes = [&](std::string_view character) {
        return set.empty() ? is_space(first_utf8(character).code_point)
                           : set.find(character) != std::string_view::npos;
    };
    while (left && !text.empty()) {
        const auto bytes = static_cast<size_t>(first_utf8(text).bytes);
        if (!goes(text.substr(0, bytes))) break;
        text.remove_prefix(bytes);
    }
    while (right && !text.empty()) {
        size_t begin = text.size() - 1;  // of the last character: before its continuation bytes
        while (begin > 0 && text.size() - begin < 4 && (text[begin] & 0xC0) == 0x80) --begin;
        if (!goes(text.substr(begin))) break;
        text.remove_suffix(text.size() - begin);
    }
    return text;
}

std::string upper(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), to_upper);
    return out;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), to_lower);
    return out;
}

std::string title(std::string_view text) {
    std::string out = lower(text);
    for (size_t i = 0; i < out.size(); ++i)
        if (i == 0 || !is_letter(out[i - 1])) out[i] = to_upper(out[i]);
    return out;
}

std::string capitalize(std::string_view text) {
    std::string out = lower(text);
    if (!out.empty()) out[0] = to_upper(out[0]);
    return out;
}

std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t most) {
    std::vector<std::string> parts;
    const auto left = [&] { return most < 0 || static_cast<int64_t>(parts.size()) < most; };
    if (!separator.empty()) {
        for (size_t found; left() && (found = text.find(separator)) != std::string_view::npos;) {
            parts.emplace_back(text.substr(0, found));
            text.remove_prefix(found + separator.size());
        }
        parts.emplace_back(text);
        return parts;
    }
    text = strip(text, "", true, false);
    while (!text.empty()) {
        if (!left()) {
            parts.emplace_back(text);
            break;
        }
        size_t end = 0;
        while (end < text.size()) {
            const Utf8Sequence next = first_utf8(text.substr(end));
            if (is_space(next.code_point)) break;
            end += static_cast<size_t>(next.bytes);
        }
        parts.emplace_back(text.substr(0, end));
        text = strip(text.substr(end), "", true, false);
    }
    return parts;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t most) {
    std::string out;
    int64_t done = 0;
    if (from.empty()) {  // before every character and at the end
        for (std::string_view character : characters(text)) {
            if (most < 0 || done++ < most) out += to;
            out += character;
        }
        if (most < 0 || done < most) out += to;
        return out;
    }
    while (most < 0 || done < most) {
        const size_t found = text.find(from);
        if (found == std::string_view::npos) break;
        out.append(text.substr(0, found)).append(to);
        text.remove_prefix(found + from.size());
        ++done;
    }
    return out.append(text);
}

std::string python_repr(const Json& value) {
    const auto joined = [](const Json& container, auto&& one) {
        std::string out;
        for (const auto& entry : container.items()) {
            if (!out.empty()) out += ", ";
            out += one(entry);
        }
        return out;
    };
    switch (value.type()) {
        case Json::value_t::null:
            return "None";
        case Json::value_t::boolean:
            return value.get<bool>() ? "True" : "False";
        case Json::value_t::string:
            return python_string(value.get_ref<const std::string&>());
        case Json::value_t::number_float: {
            const double number = value.get<double>();
            if (std::isfinite(number)) return float_text(number);
            return std::isnan(number) ? "nan" : number < 0 ? "-inf" : "inf";
        }
        case Json::value_t::array:
            return '[' +
                   joined(value, [](const auto& entry) { return python_repr(entry.value()); }) +
                   ']';
        case Json::value_t::object:
            return '{' +
                   joined(value,
                          [](const auto& entry) {
                              return python_string(entry.key()) + ": " + python_repr(entry.value());
                          }) +
                   '}';
        default:
            return value.dump();
    }
}

std::string json_text(const Json& value, const JsonStyle& style) {
    JsonWriter writer(style);
    writer.write(value, 0);
    return std::move(writer.out);
}

}  // namespace hetune::jinja
