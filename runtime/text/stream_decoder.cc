#include "runtime/text/stream_decoder.h"

#include "runtime/text/utf8.h"

namespace hetune {

std::string StreamDecoder::feed(int32_t id) {
    pending_ += tokenizer_.piece(id, special_);
    std::string_view rest = pending_;
    std::string text;
    while (!rest.empty()) {
        const Utf8Sequence next = first_utf8(rest);
        if (next.state == Utf8State::kIncomplete) break;
        text += next.state == Utf8State::kValid ? rest.substr(0, next.bytes) : kReplacementUtf8;
        rest.remove_prefix(next.bytes);
    }
    pending_ = std::string(rest);
    return text;
}

std::string StreamDecoder::flush() {
    const std::string text = to_valid_utf8(pending_);
    pending_.clear();
    return text;
}

}  // namespace hetune
