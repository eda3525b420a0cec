#include "runtime/text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <stdexcept>

#include "runtime/text/utf8.h"

namespace hetune {
namespace {

std::vector<PreTokenizer>& registry() {
    static std::vector<PreTokenizer> list;
    return list;
}

struct FreeCode {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeContext {
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using MatchContext = std::unique_ptr<pcre2_match_context, FreeContext>;

// PCRE2's limits are for untrusted patterns. Our patterns are known and go over a text once, so no
// text meets a limit but that of memory.
MatchContext without_limits() {
    MatchContext context(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(context.get(), UINT32_MAX);
    pcre2_set_depth_limit(context.get(), UINT32_MAX);
    pcre2_set_heap_limit(context.get(), UINT32_MAX);
    return context;
}

std::string pcre2_message(int code) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(code, text, sizeof text);
    return reinterpret_cast<const char*>(text);
}

// The bytes at the front of `text` that are all valid UTF-8 or all not.
size_t run_of_one_kind(std::string_view text, bool valid) {
    size_t end = 0;
    while (end < text.size()) {
        const Utf8Sequence next = first_utf8(text.substr(end));
        if ((next.state == Utf8State::kValid) != valid) break;
        end += next.bytes;
    }
    return end;
}

}  // namespace

RegisterPreTokenizer::RegisterPreTokenizer(PreTokenizer pre_tokenizer) {
    registry().push_back(std::move(pre_tokenizer));
}

const PreTokenizer* find_pre_tokenizer(std::string_view name) {
    for (const PreTokenizer& entry : registry())
        if (std::ranges::find(entry.names, name) != entry.names.end()) return &entry;
    return nullptr;
}

std::vector<std::string> pre_tokenizer_names() {
    std::vector<std::string> names;
    for (const PreTokenizer& entry : registry())
        names.insert(names.end(), entry.names.begin(), entry.names.end());
    std::ranges::sort(names);
    return names;
}

struct WordSplitter::Pattern {
    explicit Pattern(const std::string& source);
    // Appends the matches within `text` (valid UTF-8) and what lies between them.
    void split(std::string_view text, std::vector<std::string_view>& words) const;

    std::unique_ptr<pcre2_code, FreeCode> code;
};

WordSplitter::Pattern::Pattern(const std::string& source) {
    int error = 0;
    PCRE2_SIZE at = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                             PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr));
    if (code == nullptr)
        throw std::runtime_error(fmt::format("pre-tokenizer pattern '{}': {} at offset {}", source,
                                             pcre2_message(error), at));
    // Where the system forbids writable code pages this fails, and matching interprets.
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
}

void WordSplitter::Pattern::split(std::string_view text,
                                  std::vector<std::string_view>& words) const {
    const std::unique_ptr<pcre2_match_data, FreeMatch> match(
        pcre2_match_data_create_from_pattern(code.get(), nullptr));
    const MatchContext context = without_limits();
    const auto find = [&](size_t at, uint32_t options) {
        return pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                           PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | options, match.get(),
                           context.get());
    };
    size_t at = 0;
    while (at < text.size()) {
        int found = find(at, 0);
        // Compiled matching has a stack of 32 KiB, the interpreter as much heap as there is.
        if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = find(at, PCRE2_NO_JIT);
        if (found == PCRE2_ERROR_NOMATCH) break;
        if (found < 0)
            throw std::runtime_error(fmt::format("cutting a text of {} bytes into words: {}",
                                                 text.size(), pcre2_message(found)));
        const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
        if (range[0] > at) words.push_back(text.substr(at, range[0] - at));
        words.push_back(text.substr(range[0], range[1] - range[0]));
        at = range[1];
    }
    if (at < text.size()) words.push_back(text.substr(at));
}

WordSplitter::WordSplitter(const PreTokenizer& pre_tokenizer) {
    for (const std::string& pattern : pre_tokenizer.patterns)
        patterns_.push_back(std::make_unique<Pattern>(pattern));
}

WordSplitter::~WordSplitter() = default;

std::vector<std::string_view> WordSplitter::split(std::string_view text) const {
    std::vector<std::string_view> words;
    std::vector<std::string_view> pieces;
    for (bool valid = true; !text.empty(); valid = !valid) {
        const std::string_view run = text.substr(0, run_of_one_kind(text, valid));
        text.remove_prefix(run.size());
        if (run.empty()) continue;
        if (!valid) {
            words.push_back(run);
            continue;
        }
        std::vector<std::string_view> cut = {run};
        for (const auto& pattern : patterns_) {
            pieces.clear();
            for (std::string_view piece : cut) pattern->split(piece, pieces);
            cut.swap(pieces);
        }
        words.insert(words.end(), cut.begin(), cut.end());
    }
    return words;
}

}  // namespace hetune
