#include "runtime/text/special_tokens.h"

#include <algorithm>
#include <functional>

#include "runtime/text/utf8.h"

namespace hetune {

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
    for (int32_t id = 0; id < vocabulary.size(); ++id) {
        const bool found_in_text =
            vocabulary.is_special(id) || vocabulary.type(id) == TokenType::kUserDefined;
        if (found_in_text && !vocabulary.text(id).empty()) in_order_.push_back(id);
    }
    std::ranges::stable_sort(in_order_, std::greater<>(),
                             [&](int32_t id) { return vocabulary.text(id).size(); });
    for (size_t i = 0; i < in_order_.size(); ++i) by_text_.push_back(static_cast<int32_t>(i));
    std::ranges::sort(by_text_, {}, [&](int32_t i) -> const std::string& {
        return vocabulary.text(in_order_[i]);
    });
}

std::vector<bool> SpecialTokens::occurring(std::string_view text, bool special) const {
    std::vector<bool> occurs(in_order_.size(), false);
    const auto token = [&](int32_t i) -> const std::string& {
        return vocabulary_.text(in_order_[i]);
    };
    for (size_t at = 0; at < text.size(); ++at) {
        // The tokens that begin as the text does here: fewer with each byte, mostly none at once.
        auto first = by_text_.begin();
        auto last = by_text_.end();
        for (size_t bytes = 0; first != last && at + bytes < text.size(); ++bytes) {
            const auto next = static_cast<uint8_t>(text[at + bytes]);
            const auto byte = [&](int32_t i) {
                return bytes < token(i).size() ? static_cast<int>(uint8_t(token(i)[bytes])) : -1;
            };
            const auto range = std::ranges::equal_range(first, last, next, {}, byte);
            first = range.begin();
            last = range.end();
            for (auto i = first; i != last && token(*i).size() == bytes + 1; ++i)
                if (special || !vocabulary_.is_special(in_order_[*i])) occurs[*i] = true;
        }
    }
    return occurs;
}

std::string SpecialTokens::broken(std::string_view text, std::string_view mark) const {
    const std::vector<bool> occurs = occurring(text, true);
    std::vector<size_t> places;  // where a mark goes: behind the first character of a token
    for (size_t i = 0; i < in_order_.size(); ++i) {
        const int32_t id = in_order_[i];
        if (!occurs[i] || !(vocabulary_.is_special(id) || vocabulary_.ends_generation(id)))
            continue;
        const std::string& token = vocabulary_.text(id);
        const size_t first = std::max<size_t>(1, first_utf8(token).bytes);
        if (first >= token.size()) continue;  // one character cannot be broken
        for (size_t at = text.find(token); at != text.npos; at = text.find(token, at + 1))
            places.push_back(at + first);
    }
    std::ranges::sort(places);
    std::string out;
    size_t done = 0;
    for (const size_t place : places) {
        out += text.substr(done, place - done);
        if (place != done) out += mark;  // two tokens may begin alike
        done = place;
    }
    return out.append(text.substr(done));
}

std::vector<SpecialTokens::Part> SpecialTokens::cut(std::string_view text, bool special) const {
    struct Match {
        size_t begin;
        size_t bytes;
        int32_t id;
    };
    std::vector<Match> matches;
    const std::vector<bool> occurs = occurring(text, special);
    std::vector<bool> taken;
    for (size_t i = 0; i < in_order_.size(); ++i) {
        if (!occurs[i]) continue;
        if (taken.empty()) taken.resize(text.size(), false);
        const std::string& token = vocabulary_.text(in_order_[i]);
        for (size_t at = text.find(token); at != std::string_view::npos;) {
            // What was taken before is at least as long, so an overlap covers one of the ends.
            const bool free = !taken[at] && !taken[at + token.size() - 1];
            if (free) {
                std::fill_n(taken.begin() + static_cast<ptrdiff_t>(at), token.size(), true);
                matches.push_back({at, token.size(), in_order_[i]});
            }
            at = text.find(token, at + (free ? token.size() : 1));
        }
    }
    std::ranges::sort(matches, {}, &Match::begin);

    std::vector<Part> parts;
    size_t at = 0;
    for (const Match& match : matches) {
        if (match.begin > at) parts.push_back({text.substr(at, match.begin - at), kNoToken});
        parts.push_back({text.substr(match.begin, match.bytes), match.id});
        at = match.begin + match.bytes;
    }
    if (at < text.size()) parts.push_back({text.substr(at), kNoToken});
    return parts;
}

}  // namespace hetune
