#include "runtime/text/sentence_piece.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <limits>
#include <optional>

#include "runtime/text/merge_queue.h"
#include "runtime/text/utf8.h"

namespace hetune {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// The pieces of a text while they are merged: a number for each byte. At the first byte of a piece:
// its length in bytes. At its last byte, if that is another: minus its length. Between: below 0.
struct Pieces {
    std::vector<int32_t> slots;

    explicit Pieces(std::string_view text) : slots(text.size(), -1) {
        for (int32_t at = 0; at < end(); at += slots[at])
            set(at, first_utf8(text.substr(static_cast<size_t>(at))).bytes);
    }
    int32_t end() const { return static_cast<int32_t>(slots.size()); }
    int32_t next(int32_t begin) const { return begin + slots[begin]; }
    // `begin` is not 0.
    int32_t previous(int32_t begin) const {
        return slots[begin - 1] < 0 ? begin + slots[begin - 1] : begin - 1;
    }
    void merge(int32_t left, int32_t right) {
        const int32_t bytes = slots[left] + slots[right];
        slots[right] = -1;
        set(left, bytes);
    }

  private:
    void set(int32_t begin, int32_t bytes) {
        slots[begin + bytes - 1] = -bytes;
        slots[begin] = bytes;
    }
};

// Ranks in the order of scores, the highest first.
int32_t rank_of(float score) {
    const auto bits = std::bit_cast<int32_t>(-score + 0.0f);  // no minus zero
    return bits >= 0 ? bits : std::numeric_limits<int32_t>::min() - bits;
}

// The byte of "<0x41>"; none where the text is another, as in a damaged file.
std::optional<char> named_byte(std::string_view text) {
    uint8_t byte = 0;
    if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return {};
    const auto [end, error] = std::from_chars(&text[3], &text[5], byte, 16);
    if (error != std::errc() || end != &text[5]) return {};
    return static_cast<char>(byte);
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
    std::string result;
    for (size_t at = 0; at < text.size();) {
        const size_t found = std::min(text.find(from, at), text.size());
        result += text.substr(at, found - at);
        if (found < text.size()) result += to;
        at = found + from.size();
    }
    return result;
}

}  // namespace

SentencePiece::SentencePiece(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
    for (int b = 0; b < 256; ++b) {
        byte_token_[b] = vocabulary_.find(fmt::format("<0x{:02X}>", b));
        if (byte_token_[b] == kNoToken && b < 0x80)
            byte_token_[b] = vocabulary_.find(std::string(1, static_cast<char>(b)));
    }
}

void SentencePiece::encode(std::string_view raw, std::vector<int32_t>& ids) const {
    const std::string text = replace_all(raw, " ", kSpaceMark);
    const std::string_view view = text;
    Pieces pieces(view);
    MergeQueue queue;
    queue.reset(view.size());
    const auto token_of_pair = [&](int32_t left, int32_t right) {
        return vocabulary_.find(
            view.substr(static_cast<size_t>(left), static_cast<size_t>(pieces.next(right) - left)));
    };
    const auto consider = [&](int32_t left, int32_t right) {
        if (right == pieces.end()) return;
        const int32_t id = token_of_pair(left, right);
        if (id != kNoToken) queue.add(rank_of(vocabulary_.score(id)), left);
    };
    for (int32_t i = 0; i < pieces.end(); i = pieces.next(i)) consider(i, pieces.next(i));

    while (const auto best = queue.take()) {
        const int32_t left = best->left;
        if (pieces.slots[left] < 0) continue;  // merged into its left neighbour
        const int32_t right = pieces.next(left);
        if (right == pieces.end()) continue;
        // Either side may have been merged since, into a pair that is no token or has another rank.
        const int32_t id = token_of_pair(left, right);
        if (id == kNoToken || rank_of(vocabulary_.score(id)) != best->rank) continue;
        pieces.merge(left, right);
        if (left > 0) consider(pieces.previous(left), left);
        consider(left, pieces.next(left));
    }

    for (int32_t i = 0; i < pieces.end(); i = pieces.next(i)) {
        const std::string_view piece =
            view.substr(static_cast<size_t>(i), static_cast<size_t>(pieces.slots[i]));
        if (const int32_t id = vocabulary_.find(piece); id != kNoToken) {
            ids.push_back(id);
            continue;
        }
        for (char c : piece) {
            const int32_t byte = byte_token_[static_cast<uint8_t>(c)];
            const int32_t id = byte != kNoToken ? byte : vocabulary_.unknown;
            if (id != kNoToken) ids.push_back(id);
        }
    }
}

std::string SentencePiece::bytes(int32_t id) const {
    const std::string& text = vocabulary_.text(id);
    if (vocabulary_.type(id) == TokenType::kByte)
        if (const auto byte = named_byte(text)) return std::string(1, *byte);
    return replace_all(text, kSpaceMark, " ");
}

}  // namespace hetune
