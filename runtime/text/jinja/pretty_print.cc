// Python's pprint.pformat() in its defaults: 80 columns, keys sorted.
#include <algorithm>

#include "runtime/text/jinja/comparison.h"
#include "runtime/text/jinja/print.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

constexpr int64_t kColumns = 80;

using Entry = std::pair<Value, Value>;

// Keys that Python does not order are ordered by the names of their types.
bool is_before(const Value& a, const Value& b) {
    try {
        return compare(a, b) < 0;
    } catch (const Fault&) {
        return fmt::format("<class '{}'>", a.type()) < fmt::format("<class '{}'>", b.type());
    }
}

std::vector<Entry> sorted_entries(const Dict& dict) {
    std::vector<Entry> entries = dict.entries;
    std::ranges::stable_sort(
        entries, [](const Entry& a, const Entry& b) { return is_before(a.first, b.first); });
    return entries;
}

bool is_plain_sequence(const Value& value) { return value.is_list() || value.is_tuple(); }

// repr() with sorted keys.
std::string sorted_repr(const Value& value) {
    std::string out;
    const auto add = [&](const std::string& part) {
        out += out.empty() ? part : ", " + part;
        if (out.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
    };
    if (const Dict* dict = value.dict()) {
        for (const auto& [key, element] : sorted_entries(*dict))
            add(sorted_repr(key) + ": " + sorted_repr(element));
        return '{' + out + '}';
    }
    if (!is_plain_sequence(value)) return repr(value);
    for (const Value& element : value.sequence()->items) add(sorted_repr(element));
    if (value.is_list()) return '[' + out + ']';
    return fmt::format("({}{})", out, value.length() == 1 ? "," : "");
}

class PrettyPrinter {
  public:
    // `column`: where the value begins; `behind`: characters that follow its end on its line.
    void write(const Value& value, int64_t column, int64_t behind, int level) {
        const std::string line = sorted_repr(value);
        const bool fits = count_characters(line) <= kColumns - column - behind;
        if (!fits && value.is_dict())
            write_dict(*value.dict(), column, behind, level + 1);
        else if (!fits && is_plain_sequence(value))
            write_sequence(value, column, behind, level + 1);
        else if (!fits && value.is_text() && !value.is_safe())
            write_text(value.as_text(), column, behind, level + 1);
        else
            out += line;
        if (out.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
    }
    std::string out;

  private:
    void new_line(int64_t column) {
        out += '\n';
        out.append(static_cast<size_t>(column), ' ');
    }

    void write_dict(const Dict& dict, int64_t column, int64_t behind, int level) {
        const std::vector<Entry> entries = sorted_entries(dict);
        out += '{';
        for (size_t i = 0; i < entries.size(); ++i) {
            const bool last = i + 1 == entries.size();
            const std::string key = sorted_repr(entries[i].first) + ": ";
            out += key;
            write(entries[i].second, column + 1 + count_characters(key), last ? behind + 1 : 1,
                  level);
            if (!last) out += ',', new_line(column + 1);
        }
        out += '}';
    }

    void write_sequence(const Value& value, int64_t column, int64_t behind, int level) {
        const std::vector<Value>& items = value.sequence()->items;
        const std::string end = value.is_list() ? "]" : items.size() == 1 ? ",)" : ")";
        out += value.is_list() ? '[' : '(';
        for (size_t i = 0; i < items.size(); ++i) {
            const bool last = i + 1 == items.size();
            write(items[i], column + 1, last ? behind + static_cast<int64_t>(end.size()) : 1,
                  level);
            if (!last) out += ',', new_line(column + 1);
        }
        out += end;
    }

    // A text by its lines, and a line that is too long by its words: adjacent literals.
    void write_text(const std::string& text, int64_t column, int64_t behind, int level) {
        const bool outermost = level == 1;  // stands in parentheses
        if (outermost) ++column, ++behind;
        const int64_t width = kColumns - column;
        std::vector<std::string> chunks;
        const std::vector<std::string_view> lines = split_lines(text, true);
        for (size_t i = 0; i < lines.size(); ++i) {
            const int64_t end = i + 1 == lines.size() ? behind : 0;
            std::string whole = text_repr(lines[i]);
            if (count_characters(whole) <= width - end)
                chunks.push_back(std::move(whole));
            else
                split_line(lines[i], width, end, chunks);
        }
        if (outermost && chunks.size() > 1) out += '(';
        for (size_t i = 0; i < chunks.size(); ++i) {
            if (i > 0) new_line(column);
            out += chunks[i];
        }
        if (outermost && chunks.size() > 1) out += ')';
    }

    // `behind` counts for the last part alone.
    static void split_line(std::string_view line, int64_t width, int64_t behind,
                           std::vector<std::string>& chunks) {
        const std::vector<std::string> parts = words_with_spaces(line);
        std::string current;
        for (size_t i = 0; i < parts.size(); ++i) {
            const int64_t room = i + 1 == parts.size() ? width - behind : width;
            if (count_characters(text_repr(current + parts[i])) > room) {
                if (!current.empty()) chunks.push_back(text_repr(current));
                current = parts[i];
            } else {
                current += parts[i];
            }
        }
        if (!current.empty()) chunks.push_back(text_repr(current));
    }

    // Words, each with the white space behind it.
    static std::vector<std::string> words_with_spaces(std::string_view line) {
        std::vector<std::string> parts;
        bool in_space = true;
        for (std::string_view character : characters(line)) {
            const bool space = is_space(first_utf8(character).code_point);
            if (parts.empty() || (in_space && !space)) parts.emplace_back();
            parts.back() += character;
            in_space = space;
        }
        return parts;
    }
};

}  // namespace

std::string pretty_repr(const Value& value) {
    PrettyPrinter printer;
    printer.write(value, 0, 0, 0);
    return std::move(printer.out);
}

}  // namespace hetune::jinja
