#include "runtime/tokenizer/byte_level_bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "runtime/tokenizer/utf8.h"

namespace hetune {
namespace {

// Vocabularies write each byte as one printable character: itself where Latin-1 has one, otherwise
// the next of U+0100 and up. Source: bytes_to_unicode of GPT-2's encoder.
struct ByteAlphabet {
    std::array<std::string, 256> character;
    std::unordered_map<char32_t, uint8_t> byte;

    ByteAlphabet() {
        char32_t next = 0x100;
        for (int b = 0; b < 256; ++b) {
            const bool printable =
                (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            const char32_t code_point = printable ? static_cast<char32_t>(b) : next++;
            append_utf8(character[b], code_point);
            byte[code_point] = static_cast<uint8_t>(b);
        }
    }
};

const ByteAlphabet& alphabet() {
    static const ByteAlphabet made;
    return made;
}

uint64_t pair_key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

// Reused from word to word, so that encoding allocates per text and not per word.
struct ByteLevelBpe::Workspace {
    static constexpr int32_t kEnd = -1;
    struct Node {
        Symbol symbol;  // kEnd once it is merged into its left neighbour
        int32_t previous;
        int32_t next;
    };
    struct Candidate {
        int32_t rank;
        int32_t left;  // node; the leftmost of equal rank goes first
        Symbol left_symbol;
        Symbol right_symbol;
        Symbol result;
        bool operator>(const Candidate& other) const {
            return rank != other.rank ? rank > other.rank : left > other.left;
        }
    };
    std::vector<Node> nodes;
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
};

ByteLevelBpe::ByteLevelBpe(const ModelFile& file, const Vocabulary& vocabulary,
                           const PreTokenizer& pre_tokenizer)
    : vocabulary_(vocabulary),
      splitter_(pre_tokenizer),
      whole_words_first_(pre_tokenizer.whole_words_first) {
    const auto fail = [&](const std::string& what) {
        throw ModelError(fmt::format("{}: {}", file.path().string(), what));
    };
    for (int b = 0; b < 256; ++b) byte_symbol_[b] = symbol_of(alphabet().character[b]);

    const MetaArray* merges = file.find_array("tokenizer.ggml.merges");
    if (merges == nullptr) fail("lacks the metadata key 'tokenizer.ggml.merges'");
    if (merges->size() > 1u << 30) fail("tokenizer.ggml.merges has more entries than ranks");
    merges_.reserve(merges->size());
    int32_t rank = 0;
    for (const MetaValue& merge : *merges) {
        const auto* text = std::get_if<std::string>(&merge.value);
        // A space is never part of a symbol: the alphabet writes it as U+0120.
        const size_t space = text == nullptr ? std::string::npos : text->find(' ');
        if (space == std::string::npos || space == 0 || space + 1 == text->size())
            fail(fmt::format("tokenizer.ggml.merges: entry {} is not of the form 'LEFT RIGHT'",
                             rank));
        const std::string left = text->substr(0, space);
        const std::string right = text->substr(space + 1);
        const Symbol left_symbol = symbol_of(left);
        const Symbol right_symbol = symbol_of(right);
        merges_.try_emplace(pair_key(left_symbol, right_symbol),
                            Merge{rank++, symbol_of(left + right)});
    }
}

ByteLevelBpe::Symbol ByteLevelBpe::symbol_of(std::string_view text) {
    if (const int32_t id = vocabulary_.find(text); id != kNoToken) return id;
    const auto next = static_cast<Symbol>(vocabulary_.size() + extra_text_.size());
    const auto [entry, is_new] = extra_.try_emplace(std::string(text), next);
    if (is_new) extra_text_.emplace_back(text);
    return entry->second;
}

const ByteLevelBpe::Merge* ByteLevelBpe::find_merge(Symbol left, Symbol right) const {
    const auto found = merges_.find(pair_key(left, right));
    return found == merges_.end() ? nullptr : &found->second;
}

void ByteLevelBpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
    Workspace work;
    for (std::string_view word : splitter_.split(text)) encode_word(word, work, ids);
}

void ByteLevelBpe::encode_word(std::string_view word, Workspace& work,
                               std::vector<int32_t>& ids) const {
    if (whole_words_first_) {
        std::string stored;
        for (char c : word) stored += alphabet().character[static_cast<uint8_t>(c)];
        if (const int32_t id = vocabulary_.find(stored); id != kNoToken) {
            ids.push_back(id);
            return;
        }
    }
    auto& nodes = work.nodes;
    nodes.clear();
    const auto count = static_cast<int32_t>(word.size());
    for (int32_t i = 0; i < count; ++i)
        nodes.push_back({byte_symbol_[static_cast<uint8_t>(word[i])], i - 1,
                         i + 1 < count ? i + 1 : Workspace::kEnd});

    const auto consider = [&](int32_t left) {
        if (left == Workspace::kEnd || nodes[left].next == Workspace::kEnd) return;
        const Symbol a = nodes[left].symbol;
        const Symbol b = nodes[nodes[left].next].symbol;
        if (const Merge* merge = find_merge(a, b))
            work.queue.push({merge->rank, left, a, b, merge->result});
    };
    for (int32_t i = 0; i < count; ++i) consider(i);

    while (!work.queue.empty()) {
        const Workspace::Candidate best = work.queue.top();
        work.queue.pop();
        Workspace::Node& left = nodes[best.left];
        // Either side may have been merged since.
        if (left.symbol != best.left_symbol || left.next == Workspace::kEnd ||
            nodes[left.next].symbol != best.right_symbol)
            continue;
        Workspace::Node& right = nodes[left.next];
        left.symbol = best.result;
        left.next = right.next;
        if (right.next != Workspace::kEnd) nodes[right.next].previous = best.left;
        right.symbol = Workspace::kEnd;
        consider(left.previous);
        consider(best.left);
    }
    for (int32_t i = count == 0 ? Workspace::kEnd : 0; i != Workspace::kEnd; i = nodes[i].next)
        emit(nodes[i].symbol, ids);
}

void ByteLevelBpe::emit(Symbol symbol, std::vector<int32_t>& ids) const {
    if (symbol < vocabulary_.size()) {
        ids.push_back(symbol);
        return;
    }
    // A text that is no token: its bytes, where they are tokens.
    std::string_view rest = extra_text_[symbol - vocabulary_.size()];
    while (!rest.empty()) {
        const int bytes = first_utf8(rest).bytes;
        const int32_t id = vocabulary_.find(rest.substr(0, bytes));
        if (id != kNoToken)
            ids.push_back(id);
        else if (vocabulary_.unknown != kNoToken)
            ids.push_back(vocabulary_.unknown);
        rest.remove_prefix(bytes);
    }
}

std::string ByteLevelBpe::bytes(int32_t id) const {
    std::string bytes;
    std::string_view rest = vocabulary_.text(id);
    while (!rest.empty()) {
        const Utf8Sequence next = first_utf8(rest);
        const auto byte = alphabet().byte.find(next.code_point);
        // Characters outside the alphabet stand for themselves (added tokens in odd files).
        if (next.state == Utf8State::kValid && byte != alphabet().byte.end())
            bytes += static_cast<char>(byte->second);
        else
            bytes += rest.substr(0, next.bytes);
        rest.remove_prefix(next.bytes);
    }
    return bytes;
}

}  // namespace hetune
