// Text as Python sees it: characters are code points, with Unicode's properties.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hetune::jinja {

// Views of the code points of `text`. Bytes that are no UTF-8 count as one character each run.
std::vector<std::string_view> characters(std::string_view text);
int64_t count_characters(std::string_view text);

// str.lstrip and rstrip: `set` holds the characters to take off, empty for whitespace (Unicode's).
std::string_view strip(std::string_view text, std::string_view set, bool left, bool right);
bool is_space(char32_t code_point);      // str.isspace of one character
bool is_printable(char32_t code_point);  // str.isprintable of one character

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);       // "hello WORLD" -> "Hello World"
std::string capitalize(std::string_view text);  // "hello WORLD" -> "Hello world"
std::string swap_case(std::string_view text);
std::string fold_case(std::string_view text);

// str.isalpha and its kin, by their names: alpha, alnum, decimal, digit, numeric, lower, upper,
// title, space, printable, ascii, identifier. False for another name.
bool is_all(std::string_view text, std::string_view what);

// str.split and rsplit: at runs of whitespace when `separator` is empty. `most` splits; -1: all.
std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t most,
                               bool from_right = false);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);
// str.replace; `most` replacements, -1: all.
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    int64_t most);
std::string escape_html(std::string_view text);

}  // namespace hetune::jinja
