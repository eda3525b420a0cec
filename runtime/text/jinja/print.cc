#include "runtime/text/jinja/print.h"

#include <algorithm>
#include <cmath>

#include "runtime/text/jinja/comparison.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

std::string u_escape(char32_t c) {
    const auto code = static_cast<uint32_t>(c);
    if (code < 0x10000) return fmt::format("\\u{:04x}", code);
    return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                       0xDC00 + ((code - 0x10000) & 0x3FF));
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
        else if (c < 0x20 || (ensure_ascii && c >= 0x7F))
            out += u_escape(c);
        else
            out += character;
    }
    return out + '"';
}

std::string json_number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_text(value);
}

class JsonWriter {
  public:
    explicit JsonWriter(const JsonStyle& style) : style_(style) {}

    void write(const Value& value, int depth) {
        if (out.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
        if (const Dict* dict = value.dict())
            write_dict(*dict, depth);
        else if (value.is_list() || value.is_tuple())
            write_list(value.sequence()->items, depth);
        else if (value.is_text())
            out += json_string(value.as_text(), style_.ensure_ascii);
        else if (value.is_none())
            out += "null";
        else if (value.is_bool())
            out += value.as_bool() ? "true" : "false";
        else if (value.is_integer())
            out += value.as_integer().text();
        else if (value.is_float())
            out += json_number(value.as_double());
        else
            throw Fault("cannot write " + value.kind() + " as JSON");
    }
    std::string out;

  private:
    static std::string key_text(const Value& key) {
        if (key.is_text()) return key.as_text();
        if (key.is_none()) return "null";
        if (key.is_bool()) return key.as_bool() ? "true" : "false";
        if (key.is_integer()) return key.as_integer().text();
        if (key.is_float()) return json_number(key.as_double());
        throw Fault("cannot write " + key.kind() + " as a key of JSON");
    }
    void write_list(const std::vector<Value>& items, int depth) {
        if (items.empty()) return void(out += "[]");
        out += '[';
        for (size_t i = 0; i < items.size(); ++i) {
            separate(i, depth + 1);
            write(items[i], depth + 1);
        }
        new_line(depth);
        out += ']';
    }
    void write_dict(const Dict& dict, int depth) {
        if (dict.entries.empty()) return void(out += "{}");
        std::vector<const std::pair<Value, Value>*> entries;
        for (const auto& entry : dict.entries) entries.push_back(&entry);
        if (style_.sort_keys)
            std::ranges::stable_sort(entries, [](const auto* a, const auto* b) {
                return compare(a->first, b->first) < 0;
            });
        out += '{';
        for (size_t i = 0; i < entries.size(); ++i) {
            separate(i, depth + 1);
            out += json_string(key_text(entries[i]->first), style_.ensure_ascii);
            out += style_.key_separator;
            write(entries[i]->second, depth + 1);
        }
        new_line(depth);
        out += '}';
    }
    void separate(size_t index, int depth) {
        if (index > 0) out += style_.item_separator;
        new_line(depth);
    }
    void new_line(int depth) {
        if (!style_.indent) return;
        out += '\n';
        for (int i = 0; i < depth; ++i) out += *style_.indent;
    }

    const JsonStyle& style_;
};

std::string joined(const std::vector<Value>& items, int depth) {
    std::string out;
    for (const Value& item : items) {
        if (!out.empty()) out += ", ";
        out += repr(item, depth + 1);
        if (out.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
    }
    return out;
}

std::string bytes_repr(const std::vector<Value>& numbers) {
    const auto has = [&](char c) {
        return std::ranges::any_of(numbers, [&](const Value& n) { return n.as_int64() == c; });
    };
    const char quote = has('\'') && !has('"') ? '"' : '\'';
    std::string out = {'b', quote};
    for (const Value& number : numbers) {
        const auto byte = static_cast<char>(number.as_int64());
        if (byte == quote || byte == '\\')
            out += {'\\', byte};
        else if (byte == '\n' || byte == '\r' || byte == '\t')
            out += byte == '\n' ? "\\n" : byte == '\r' ? "\\r" : "\\t";
        else if (byte >= 0x20 && byte < 0x7F)
            out += byte;
        else
            out += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
    }
    return out + quote;
}

std::string repr(const Sequence& sequence, int depth) {
    using Kind = Sequence::Kind;
    switch (sequence.kind) {
        case Kind::kRange:
            return sequence.range[2] == 1
                       ? fmt::format("range({}, {})", sequence.range[0], sequence.range[1])
                       : fmt::format("range({}, {}, {})", sequence.range[0], sequence.range[1],
                                     sequence.range[2]);
        case Kind::kTuple:
            return fmt::format("({}{})", joined(sequence.items, depth),
                               sequence.items.size() == 1 ? "," : "");
        case Kind::kList:
            return fmt::format("[{}]", joined(sequence.items, depth));
        case Kind::kKeys:
            return fmt::format("dict_keys([{}])", joined(sequence.items, depth));
        case Kind::kValues:
            return fmt::format("dict_values([{}])", joined(sequence.items, depth));
        case Kind::kItems:
            return fmt::format("dict_items([{}])", joined(sequence.items, depth));
        case Kind::kBytes:
            return bytes_repr(sequence.items);
    }
    return {};
}

}  // namespace

std::string float_text(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

std::string text_repr(std::string_view text, bool ascii) {
    const bool has_single = text.find('\'') != std::string_view::npos;
    const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
    std::string out(1, quote);
    for (std::string_view character : characters(text)) {
        const Utf8Sequence sequence = first_utf8(character);
        const auto c = static_cast<uint32_t>(sequence.code_point);
        if (sequence.state != Utf8State::kValid)
            for (const char byte : character)  // Python has no such text; this is its bytes
                out += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
        else if (character[0] == quote || c == '\\')
            out += {'\\', character[0]};
        else if (c == '\n')
            out += "\\n";
        else if (c == '\r')
            out += "\\r";
        else if (c == '\t')
            out += "\\t";
        else if (ascii ? c >= 0x20 && c < 0x7F : is_printable(sequence.code_point))
            out += character;
        else if (c < 0x100)
            out += fmt::format("\\x{:02x}", c);
        else if (c < 0x10000)
            out += fmt::format("\\u{:04x}", c);
        else
            out += fmt::format("\\U{:08x}", c);
    }
    return out + quote;
}

std::string repr(const Value& value, int depth) {
    if (depth > kMaxDepth) throw Fault("prints values that nest too deeply");
    if (value.is_text())
        return value.is_safe() ? fmt::format("Markup({})", text_repr(value.as_text()))
                               : text_repr(value.as_text());
    if (value.is_none()) return "None";
    if (value.is_bool()) return value.as_bool() ? "True" : "False";
    if (value.is_integer()) return value.as_integer().text();
    if (value.is_float()) return float_text(value.as_double());
    if (value.is_undefined()) return "Undefined";
    if (const Sequence* sequence = value.sequence()) return repr(*sequence, depth);
    if (const Dict* dict = value.dict()) {
        std::string out;
        for (const auto& [key, element] : dict->entries) {
            if (!out.empty()) out += ", ";
            out += repr(key, depth + 1) + ": " + repr(element, depth + 1);
            if (out.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
        }
        return '{' + out + '}';
    }
    if (Object* object = value.object()) return object->print(depth);
    return fmt::format("<{} object>", value.type());
}

std::string json_text(const Value& value, const JsonStyle& style) {
    JsonWriter writer(style);
    writer.write(value, 0);
    return std::move(writer.out);
}

}  // namespace hetune::jinja
