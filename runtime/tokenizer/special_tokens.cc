#include "runtime/tokenizer/special_tokens.h"

#include <algorithm>

namespace hetune {

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
    for (int32_t id = 0; id < vocabulary.size(); ++id) {
        const bool found_in_text =
            vocabulary.is_special(id) || vocabulary.type(id) == TokenType::kUserDefined;
        if (found_in_text && !vocabulary.text(id).empty())
            by_first_byte_[static_cast<uint8_t>(vocabulary.text(id)[0])].push_back(id);
    }
}

std::vector<SpecialTokens::Part> SpecialTokens::cut(std::string_view text, bool special) const {
    struct Match {
        size_t begin;
        size_t bytes;
        int32_t id;
    };
    std::vector<Match> matches;
    for (size_t at = 0; at < text.size(); ++at)
        for (int32_t id : by_first_byte_[static_cast<uint8_t>(text[at])])
            if ((special || !vocabulary_.is_special(id)) &&
                text.substr(at).starts_with(vocabulary_.text(id)))
                matches.push_back({at, vocabulary_.text(id).size(), id});

    std::ranges::sort(matches, [](const Match& a, const Match& b) {
        if (a.bytes != b.bytes) return a.bytes > b.bytes;
        return a.id != b.id ? a.id < b.id : a.begin < b.begin;
    });
    // What was taken before is at least as long, so an overlap covers one of a match's ends.
    std::vector<bool> taken(matches.empty() ? 0 : text.size(), false);
    std::erase_if(matches, [&](const Match& match) {
        const size_t last = match.begin + match.bytes - 1;
        if (taken[match.begin] || taken[last]) return true;
        std::fill_n(taken.begin() + static_cast<ptrdiff_t>(match.begin), match.bytes, true);
        return false;
    });
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
