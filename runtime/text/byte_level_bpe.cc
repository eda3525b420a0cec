#include "runtime/text/byte_level_bpe.h"

#include <fmt/format.h>

#include "runtime/text/merge_queue.h"
#include "runtime/text/utf8.h"

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
    // A number for each byte of the word. At the first byte of a piece: its symbol. At the second
    // and the last byte: minus the length of the piece. Between: negative.
    std::vector<int32_t> slots;
    MergeQueue queue;

    int32_t end() const { return static_cast<int32_t>(slots.size()); }
    // Where the piece behind the one at `begin` begins; end(): there is none.
    int32_t next(int32_t begin) const {
        return begin + 1 < end() && slots[begin + 1] < 0 ? begin - slots[begin + 1] : begin + 1;
    }
    // `begin` is not 0.
    int32_t previous(int32_t begin) const {
        return slots[begin - 1] < 0 ? begin + slots[begin - 1] : begin - 1;
    }
    void merge(int32_t left, int32_t right, Symbol result) {
        const int32_t behind = next(right);
        slots[left] = result;
        slots[left + 1] = slots[right] = slots[behind - 1] = left - behind;
    }
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
    rank_.reserve(merges->size());
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
        merges_.push_back({left_symbol, right_symbol, symbol_of(left + right)});
        rank_.try_emplace(pair_key(left_symbol, right_symbol), rank++);
    }
}

ByteLevelBpe::Symbol ByteLevelBpe::symbol_of(std::string_view text) {
    if (const int32_t id = vocabulary_.find(text); id != kNoToken) return id;
    const auto next = static_cast<Symbol>(vocabulary_.size() + extra_text_.size());
    const auto [entry, is_new] = extra_.try_emplace(std::string(text), next);
    if (is_new) extra_text_.emplace_back(text);
    return entry->second;
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
    work.slots.clear();
    for (const char c : word) work.slots.push_back(byte_symbol_[static_cast<uint8_t>(c)]);
    work.queue.reset(word.size());
    const auto consider = [&](int32_t left, int32_t right) {
        if (right == work.end()) return;
        const auto found = rank_.find(pair_key(work.slots[left], work.slots[right]));
        if (found != rank_.end()) work.queue.add(found->second, left);
    };
    for (int32_t i = 0; i < work.end(); ++i) consider(i, i + 1);

    while (const auto best = work.queue.take()) {
        const int32_t left = best->left;
        const Merge& merge = merges_[static_cast<size_t>(best->rank)];
        // Either side may have been merged since.
        if (work.slots[left] != merge.left) continue;
        const int32_t right = work.next(left);
        if (right == work.end() || work.slots[right] != merge.right) continue;
        work.merge(left, right, merge.result);
        if (left > 0) consider(work.previous(left), left);
        consider(left, work.next(left));
    }
    for (int32_t i = 0; i < work.end(); i = work.next(i)) emit(work.slots[i], ids);
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
