// Cuts text into words, across which byte-level BPE never merges. Each way of cutting has the name
// that model files give it in tokenizer.ggml.pre, and registers itself from a file in pre/:
//
//   RegisterPreTokenizer qwen2{{.names = {"qwen2"}, .patterns = {...}}};
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hetune {

struct PreTokenizer {
    std::vector<std::string> names;
    // PCRE2, with Unicode classes. The first cuts the text, the next ones cut what is there; what
    // lies between two matches is a word too. Whitespace is the class kSpace, not \s, to which
    // PCRE2 adds U+180E.
    std::vector<std::string> patterns;
    bool whole_words_first = false;  // a word that is a token is not merged from its parts
    bool adds_bos = false;           // unless the file says otherwise
};

// Unicode's White_Space, for use within [].
inline constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})";

// As the tokenizer files of Llama 3, Qwen, Seed-Coder and o200k state it. Without regard to case,
// U+017F is an s; llama.cpp lists the ASCII letters instead.
inline constexpr std::string_view kContraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

// GPT-2's pattern (pre/gpt2.cc), which several others end with.
std::string gpt2_pattern();

struct RegisterPreTokenizer {
    explicit RegisterPreTokenizer(PreTokenizer pre_tokenizer);
};

const PreTokenizer* find_pre_tokenizer(std::string_view name);  // nullptr when there is none
std::vector<std::string> pre_tokenizer_names();                 // sorted

// A PreTokenizer's patterns, compiled. Any number of threads may use one.
class WordSplitter {
  public:
    explicit WordSplitter(const PreTokenizer& pre_tokenizer);
    ~WordSplitter();

    // The words of `text`, in order and without gaps, as views into it. Bytes that are no UTF-8
    // match no pattern: a run of them is one word.
    std::vector<std::string_view> split(std::string_view text) const;

  private:
    struct Pattern;
    std::vector<std::unique_ptr<Pattern>> patterns_;
};

}  // namespace hetune
