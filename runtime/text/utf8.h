// UTF-8, one sequence at a time, for text that may be broken or cut off.
#pragma once

#include <string>
#include <string_view>

namespace hetune {

inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8State { kValid, kInvalid, kIncomplete };

// The sequence at the front of a non-empty text.
//   kValid: `bytes` 1 to 4, `code_point` set.
//   kInvalid: `bytes` is what one U+FFFD replaces (Unicode's "maximal subpart", 1 to 3).
//   kIncomplete: the text ends within a sequence that is well formed so far; `bytes` is all of it.
struct Utf8Sequence {
    Utf8State state;
    int bytes;
    char32_t code_point = 0;
};

Utf8Sequence first_utf8(std::string_view text);

// Appends a code point. It must be a Unicode scalar value.
void append_utf8(std::string& out, char32_t code_point);

// `text` with every invalid or cut off sequence as one U+FFFD.
std::string to_valid_utf8(std::string_view text);

}  // namespace hetune
