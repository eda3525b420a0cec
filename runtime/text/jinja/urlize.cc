// The filter urlize: jinja2.utils.urlize, with the patterns of Jinja.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cassert>
#include <set>

#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/text.h"
#include "runtime/text/utf8.h"

namespace hetune::jinja {
namespace {

constexpr char kLink[] =
    R"(^((https?://|www\.)(([\w%-]+\.)+)?([a-z]{2,63}|xn--[\w%]{2,59}))"
    R"(|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil))"
    R"(|(https?://)((([\d]{1,3})(\.[\d]{1,3}){3})|(\[([\da-f]{0,4}:){2}([\da-f]{0,4}:?){1,6}\]))))"
    R"((?::[\d]{1,5})?(?:[/?#]\S*)?$)";
constexpr char kEmail[] = R"(^\S+@\w[\w.-]*\.\w+$)";
constexpr char kScheme[] = R"(^[\w.+-]{2,}:(/){0,2}$)";

class Pattern {
  public:
    Pattern(const char* pattern, uint32_t options)
        : code_(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                              options | PCRE2_UTF | PCRE2_UCP, &error_, &offset_, nullptr)) {
        assert(code_ != nullptr);
    }
    Pattern(const Pattern&) = delete;
    Pattern& operator=(const Pattern&) = delete;
    ~Pattern() { pcre2_code_free(code_); }

    bool matches(std::string_view text) const {
        const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> found(
            pcre2_match_data_create_from_pattern(code_, nullptr), pcre2_match_data_free);
        const int result = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                       text.size(), 0, 0, found.get(), nullptr);
        const bool limit = result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_HEAPLIMIT;
        if (limit) throw Fault("a word is too long to be tried as an address");
        return result >= 0;
    }

  private:
    int error_ = 0;
    PCRE2_SIZE offset_ = 0;
    pcre2_code* code_;
};

struct Links {
    std::optional<int64_t> shown;  // characters of an address that are shown
    std::string attributes;        // rel and target
    std::vector<std::string> schemes;
};

int64_t count_of(std::string_view text, std::string_view part) {
    int64_t count = 0;
    for (size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size())
        ++count;
    return count;
}

// Bytes of the mark that `text` begins or ends with; 0: none.
size_t mark_at_begin(std::string_view text) {
    if (text.starts_with("&lt;")) return 4;
    return text.starts_with('(') || text.starts_with('<') ? 1 : 0;
}
size_t mark_at_end(std::string_view text) {
    if (text.ends_with("&gt;")) return 4;
    return !text.empty() && std::string_view(")>.,").find(text.back()) != std::string_view::npos;
}

std::string shortened(const std::string& address, const std::optional<int64_t>& shown) {
    if (!shown || count_characters(address) <= *shown) return address;
    return slice(Value::text(address), Value(), Value::of(*shown), Value()).as_text() + "...";
}

// An address as a link; any other word as it is.
std::string linked(const std::string& word, const Links& links) {
    static const Pattern kLinks(kLink, PCRE2_CASELESS);
    static const Pattern kEmails(kEmail, 0);
    if (kLinks.matches(word)) {
        const bool has_scheme = word.starts_with("https://") || word.starts_with("http://");
        return fmt::format("<a href=\"{}{}\"{}>{}</a>", has_scheme ? "" : "https://", word,
                           links.attributes, shortened(word, links.shown));
    }
    if (word.starts_with("mailto:") && kEmails.matches(std::string_view(word).substr(7)))
        return fmt::format("<a href=\"{}\">{}</a>", word, word.substr(7));
    const bool email = word.find('@') != std::string::npos && !word.starts_with("www.") &&
                       !word.starts_with('@') && word.find(':') == std::string::npos;
    if (email && kEmails.matches(word))
        return fmt::format("<a href=\"mailto:{}\">{}</a>", word, word);
    std::string out = word;
    for (const std::string& scheme : links.schemes)
        if (out != scheme && out.starts_with(scheme))
            out = fmt::format("<a href=\"{}\"{}>{}</a>", out, links.attributes, out);
    return out;
}

// A word of escaped text: marks in front and behind are no part of an address, but for closing
// brackets that the address opened.
std::string linked_within_marks(std::string_view word, const Links& links) {
    size_t begin = 0;
    while (const size_t mark = mark_at_begin(word.substr(begin))) begin += mark;
    size_t end = word.size();
    while (const size_t mark = mark_at_end(word.substr(begin, end - begin))) end -= mark;
    const std::string_view head = word.substr(0, begin);
    std::string middle(word.substr(begin, end - begin));
    std::string_view tail = word.substr(end);
    static constexpr std::pair<std::string_view, std::string_view> kBrackets[] = {
        {"(", ")"}, {"<", ">"}, {"&lt;", "&gt;"}};
    for (const auto& [open, close] : kBrackets) {
        const int64_t opened = count_of(middle, open);
        if (opened <= count_of(middle, close)) continue;
        for (int64_t left = std::min(opened, count_of(tail, close)); left > 0; --left) {
            const size_t taken = tail.find(close) + close.size();
            middle += tail.substr(0, taken);
            tail.remove_prefix(taken);
        }
    }
    return fmt::format("{}{}{}", head, linked(middle, links), tail);
}

std::string optional_text(const Arguments& arguments, size_t position, std::string_view name) {
    const Value* given = arguments.find(position, name);
    return given == nullptr || given->is_none() ? "" : given->as_text();
}

std::string attribute_text(std::string_view name, const std::string& value) {
    return value.empty() ? "" : fmt::format(" {}=\"{}\"", name, escape_html(value));
}

}  // namespace

Value urlize(const Value& input, const Arguments& arguments) {
    arguments.check({"trim_url_limit", "nofollow", "target", "rel", "extra_schemes"});
    Links links{.shown = arguments.integer(0, "trim_url_limit")};
    std::set<std::string> rel = {"noopener"};  // Jinja's policy
    for (const std::string& part : split(optional_text(arguments, 3, "rel"), "", -1))
        rel.insert(part);
    if (arguments.flag(1, "nofollow")) rel.insert("nofollow");
    links.attributes = attribute_text("rel", fmt::format("{}", fmt::join(rel, " "))) +
                       attribute_text("target", optional_text(arguments, 2, "target"));
    if (const Value* given = arguments.find(4, "extra_schemes");
        given != nullptr && !given->is_none()) {
        static const Pattern kSchemes(kScheme, 0);
        for (const Value& scheme : given->items()) {
            if (!kSchemes.matches(scheme.as_text()))
                throw Fault(fmt::format("'{}' is no scheme of an address", scheme.as_text()));
            links.schemes.push_back(scheme.as_text());
        }
    }

    const std::string text = input.is_safe() ? input.as_text() : escape_html(input.print());
    std::string out;
    std::string word;
    for (std::string_view character : characters(text)) {
        if (!is_space(first_utf8(character).code_point)) {
            word += character;
            continue;
        }
        if (!word.empty()) out += linked_within_marks(word, links);
        word.clear();
        out += character;
    }
    if (!word.empty()) out += linked_within_marks(word, links);
    return Value::text(std::move(out), Rendering::autoescapes());
}

}  // namespace hetune::jinja
