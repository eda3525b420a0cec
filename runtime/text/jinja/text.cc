#include "runtime/text/jinja/text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "runtime/text/jinja/unicode_tables.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

// A class of characters by a pattern of PCRE2, as [\p{L}].
class CharacterClass {
  public:
    explicit CharacterClass(const char* pattern) {
        int error = 0;
        PCRE2_SIZE at = 0;
        code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &at, nullptr));
        if (code_ == nullptr) throw std::logic_error(pattern);
    }
    bool holds(std::string_view character) const {
        const std::unique_ptr<pcre2_match_data, Free> match(
            pcre2_match_data_create_from_pattern(code_.get(), nullptr));
        return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(character.data()),
                           character.size(), 0, 0, match.get(), nullptr) > 0;
    }

  private:
    struct Free {
        void operator()(pcre2_code* code) const { pcre2_code_free(code); }
        void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
    };
    std::unique_ptr<pcre2_code, Free> code_;
};

template <size_t kRuns>
const CaseRun* find_run(const CaseRun (&runs)[kRuns], char32_t c) {
    const auto* run = std::ranges::lower_bound(runs, c, {}, &CaseRun::last);
    if (run == std::end(runs) || c < run->first || (c - run->first) % run->step != 0)
        return nullptr;
    return run;
}

template <size_t kTexts>
const char* find_text(const CaseText (&texts)[kTexts], char32_t c) {
    const auto* found = std::ranges::lower_bound(texts, c, {}, &CaseText::from);
    return found == std::end(texts) || found->from != c ? nullptr : found->to;
}

// Appends what `character` becomes; false where the tables have nothing for it.
template <size_t kRuns, size_t kTexts>
bool change(std::string_view character, const CaseRun (&runs)[kRuns],
            const CaseText (&texts)[kTexts], std::string& out) {
    const Utf8Sequence sequence = first_utf8(character);
    if (sequence.state != Utf8State::kValid) return false;
    const char32_t c = sequence.code_point;
    if (const char* text = find_text(texts, c)) {
        out += text;
    } else if (const CaseRun* run = find_run(runs, c)) {
        append_utf8(out, static_cast<char32_t>(static_cast<int64_t>(c) + run->delta));
    } else {
        return false;
    }
    return true;
}

void add_upper(std::string_view character, std::string& out) {
    if (!change(character, kUpperRuns, kUpperTexts, out)) out += character;
}
void add_lower(std::string_view character, std::string& out) {
    if (!change(character, kLowerRuns, kLowerTexts, out)) out += character;
}
void add_title(std::string_view character, std::string& out) {
    if (!change(character, kTitleRuns, kTitleTexts, out)) add_upper(character, out);
}

bool is_cased(std::string_view character) {
    static const CharacterClass cased(R"([\p{Cased}])");
    return cased.holds(character);
}

// A capital sigma at the end of a word becomes another letter than within (Unicode 3.13).
bool is_final_sigma(const std::vector<std::string_view>& all, size_t at) {
    static const CharacterClass ignorable(R"([\p{Case_Ignorable}])");
    size_t before = at;
    while (before > 0 && ignorable.holds(all[before - 1])) --before;
    if (before == 0 || !is_cased(all[before - 1])) return false;
    size_t behind = at + 1;
    while (behind < all.size() && ignorable.holds(all[behind])) ++behind;
    return behind == all.size() || !is_cased(all[behind]);
}

void add_lower(const std::vector<std::string_view>& all, size_t at, std::string& out) {
    if (all[at] == "Σ")
        out += is_final_sigma(all, at) ? "ς" : "σ";
    else
        add_lower(all[at], out);
}

bool in(std::string_view character, const auto& ranges) {
    const char32_t c = first_utf8(character).code_point;
    return std::ranges::any_of(
        ranges, [&](const CodePoints& range) { return c >= range.first && c <= range.last; });
}

// The character that ends at the end of `text`.
std::string_view last_character(std::string_view text) {
    size_t begin = text.size() - 1;
    while (begin > 0 && text.size() - begin < 4 && (text[begin] & 0xC0) == 0x80) --begin;
    if (static_cast<size_t>(first_utf8(text.substr(begin)).bytes) != text.size() - begin)
        begin = text.size() - 1;  // no UTF-8: a byte
    return text.substr(begin);
}

std::vector<std::string> split_from_right(std::string_view text, std::string_view separator,
                                          int64_t most) {
    std::vector<std::string> parts;
    if (!separator.empty()) {
        size_t found = 0;
        while (static_cast<int64_t>(parts.size()) < most &&
               (found = text.rfind(separator)) != std::string_view::npos) {
            parts.emplace_back(text.substr(found + separator.size()));
            text = text.substr(0, found);
        }
        parts.emplace_back(text);
    } else {
        text = strip(text, "", false, true);
        while (!text.empty() && static_cast<int64_t>(parts.size()) < most) {
            std::string_view rest = text;
            while (!rest.empty() && !is_space(first_utf8(last_character(rest)).code_point))
                rest.remove_suffix(last_character(rest).size());
            parts.emplace_back(text.substr(rest.size()));
            text = strip(rest, "", false, true);
        }
        if (!text.empty()) parts.emplace_back(text);
    }
    std::ranges::reverse(parts);
    return parts;
}

}  // namespace

std::vector<std::string_view> characters(std::string_view text) {
    std::vector<std::string_view> all;
    while (!text.empty()) {
        all.push_back(text.substr(0, static_cast<size_t>(first_utf8(text).bytes)));
        text.remove_prefix(all.back().size());
    }
    return all;
}

int64_t count_characters(std::string_view text) {
    int64_t count = 0;
    for (; !text.empty(); ++count) text.remove_prefix(static_cast<size_t>(first_utf8(text).bytes));
    return count;
}

bool is_space(char32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_printable(char32_t c) {
    if (c < 0x7F) return c >= 0x20;
    static const CharacterClass printable(R"([^\p{C}\p{Z}])");
    std::string character;
    append_utf8(character, c);
    return printable.holds(character);
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
        const std::string_view last = last_character(text);
        if (!goes(last)) break;
        text.remove_suffix(last.size());
    }
    return text;
}

std::string upper(std::string_view text) {
    std::string out;
    for (std::string_view character : characters(text)) add_upper(character, out);
    return out;
}

std::string lower(std::string_view text) {
    std::string out;
    const auto all = characters(text);
    for (size_t i = 0; i < all.size(); ++i) add_lower(all, i, out);
    return out;
}

std::string title(std::string_view text) {
    std::string out;
    bool in_word = false;
    const auto all = characters(text);
    for (size_t i = 0; i < all.size(); ++i) {
        if (in_word)
            add_lower(all, i, out);
        else
            add_title(all[i], out);
        in_word = is_cased(all[i]);
    }
    return out;
}

std::string capitalize(std::string_view text) {
    std::string out;
    const auto all = characters(text);
    for (size_t i = 0; i < all.size(); ++i) {
        if (i == 0)
            add_title(all[i], out);
        else
            add_lower(all, i, out);
    }
    return out;
}

std::string swap_case(std::string_view text) {
    static const CharacterClass capital(R"([\p{Uppercase}])");
    static const CharacterClass small(R"([\p{Lowercase}])");
    std::string out;
    const auto all = characters(text);
    for (size_t i = 0; i < all.size(); ++i) {
        if (capital.holds(all[i]))
            add_lower(all, i, out);
        else if (small.holds(all[i]))
            add_upper(all[i], out);
        else
            out += all[i];
    }
    return out;
}

std::string fold_case(std::string_view text) {
    std::string out;
    for (std::string_view character : characters(text))
        if (!change(character, kFoldRuns, kFoldTexts, out)) add_lower(character, out);
    return out;
}

bool is_all(std::string_view text, std::string_view what) {
    static const CharacterClass letter(R"([\p{L}])");
    static const CharacterClass number(R"([\p{N}])");
    static const CharacterClass decimal(R"([\p{Nd}])");
    static const CharacterClass capital(R"([\p{Uppercase}])");
    static const CharacterClass small(R"([\p{Lowercase}])");
    static const CharacterClass titled(R"([\p{Lt}])");
    static const CharacterClass name_part(R"([\p{Xid_Continue}])");
    static const CharacterClass name_start(R"([_\p{Xid_Start}])");
    const auto all = characters(text);
    const auto each = [&](auto&& holds) { return !all.empty() && std::ranges::all_of(all, holds); };
    using View = std::string_view;
    const auto is_digit = [&](View c) { return decimal.holds(c) || in(c, kDigitsOnly); };
    const auto is_numeric = [&](View c) { return number.holds(c) || in(c, kNumericLetters); };
    if (what == "alpha") return each([&](View c) { return letter.holds(c); });
    if (what == "alnum") return each([&](View c) { return letter.holds(c) || is_numeric(c); });
    if (what == "decimal") return each([&](View c) { return decimal.holds(c); });
    if (what == "digit") return each(is_digit);
    if (what == "numeric") return each(is_numeric);
    if (what == "space") return each([](View c) { return is_space(first_utf8(c).code_point); });
    if (what == "ascii") return std::ranges::all_of(text, [](char c) { return (c & 0x80) == 0; });
    if (what == "printable")
        return std::ranges::all_of(all,
                                   [](View c) { return is_printable(first_utf8(c).code_point); });
    if (what == "identifier")
        return each([&](View c) { return name_part.holds(c); }) && name_start.holds(all[0]);
    if (what == "lower" || what == "upper") {
        const auto& wanted = what == "lower" ? small : capital;
        const auto& other = what == "lower" ? capital : small;
        return std::ranges::any_of(all, [&](View c) { return wanted.holds(c); }) &&
               std::ranges::none_of(all, [&](View c) { return other.holds(c) || titled.holds(c); });
    }
    if (what == "title") {
        bool in_word = false;
        bool any = false;
        for (View c : all) {
            const bool begins = capital.holds(c) || titled.holds(c);
            if ((begins && in_word) || (small.holds(c) && !in_word)) return false;
            in_word = begins || small.holds(c);
            any |= in_word;
        }
        return any;
    }
    return false;
}

std::vector<std::string> split(std::string_view text, std::string_view separator, int64_t most,
                               bool from_right) {
    if (from_right && most >= 0) return split_from_right(text, separator, most);
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

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
    std::vector<std::string_view> lines;
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
        const Utf8Sequence next = first_utf8(text.substr(at));
        const char32_t c = next.code_point;
        size_t end = at + static_cast<size_t>(next.bytes);
        const bool ends = next.state == Utf8State::kValid &&
                          ((c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                           c == 0x2028 || c == 0x2029);
        if (ends && c == '\r' && end < text.size() && text[end] == '\n') ++end;
        if (ends) {
            lines.push_back(text.substr(begin, (keep_ends ? end : at) - begin));
            begin = end;
        }
        at = end;
    }
    if (begin < text.size()) lines.push_back(text.substr(begin));
    return lines;
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

std::string escape_html(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&#34;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

}  // namespace hetune::jinja
