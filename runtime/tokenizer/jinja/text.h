// Text as Python sees it: characters are code points, and values print as Python prints them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace hetune::jinja {

// Views of the code points of `text`. Bytes that are no UTF-8 count as one character each run.
std::vector<std::string_view> characters(std::string_view text);

// str.lstrip and rstrip: `set` holds the characters to take off, empty for whitespace (Unicode's).
std::string_view strip(std::string_view text, std::string_view set, bool left, bool right);
bool is_space(char32_t code_point);  // str.isspace of one character

// Letters of ASCII change case, others stay.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);       // "hello WORLD" -> "Hello World"
std::string capitalize(std::string_view text);  // "hello WORLD" -> "Hello world"

// str.split: at runs of whitespace when `separator` is empty. `most` splits; -1: all.
std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t most);
// str.replace; `most` replacements, -1: all.
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t most);

std::string python_repr(const nlohmann::ordered_json& value);  // {'a': [1, None, True]}

struct JsonStyle {
    int indent = -1;  // -1: on one line
    std::string item_separator = ", ";
    std::string key_separator = ": ";
    bool sort_keys = false;
    bool ensure_ascii = false;
};
// json.dumps
std::string json_text(const nlohmann::ordered_json& value, const JsonStyle& style = {});

}  // namespace hetune::jinja
