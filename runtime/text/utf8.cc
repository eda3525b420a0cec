#include "runtime/text/utf8.h"

#include <cstdint>

namespace hetune {

Utf8Sequence first_utf8(std::string_view text) {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
    const uint8_t lead = byte(0);
    if (lead < 0x80) return {Utf8State::kValid, 1, lead};
    const int length = lead >= 0xC2 && lead <= 0xDF   ? 2
                       : lead >= 0xE0 && lead <= 0xEF ? 3
                       : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                      : 0;
    if (length == 0) return {Utf8State::kInvalid, 1};
    // The second byte's range excludes overlong forms, surrogates and values past U+10FFFF
    // (Unicode 15, table 3-7).
    const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    char32_t code_point = lead & (0x7F >> length);
    for (int i = 1; i < length; ++i) {
        if (static_cast<size_t>(i) == text.size()) return {Utf8State::kIncomplete, i};
        const uint8_t next = byte(i);
        if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF))
            return {Utf8State::kInvalid, i};
        code_point = code_point << 6 | (next & 0x3F);
    }
    return {Utf8State::kValid, length, code_point};
}

void append_utf8(std::string& out, char32_t code_point) {
    const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
    if (code_point < 0x80) return put(code_point);
    if (code_point < 0x800) {
        put(0xC0 | code_point >> 6);
    } else if (code_point < 0x10000) {
        put(0xE0 | code_point >> 12);
        put(0x80 | (code_point >> 6 & 0x3F));
    } else {
        put(0xF0 | code_point >> 18);
        put(0x80 | (code_point >> 12 & 0x3F));
        put(0x80 | (code_point >> 6 & 0x3F));
    }
    put(0x80 | (code_point & 0x3F));
}

std::string to_valid_utf8(std::string_view text) {
    std::string valid;
    valid.reserve(text.size());
    while (!text.empty()) {
        const Utf8Sequence sequence = first_utf8(text);
        valid +=
            sequence.state == Utf8State::kValid ? text.substr(0, sequence.bytes) : kReplacementUtf8;
        text.remove_prefix(sequence.bytes);
    }
    return valid;
}

}  // namespace hetune
