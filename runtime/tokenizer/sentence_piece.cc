#include "runtime/tokenizer/sentence_piece.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <queue>

#include "runtime/tokenizer/utf8.h"

namespace hetune {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr int64_t kEnd = -1;

struct Node {
    size_t begin;
    size_t bytes;  // 0 once it is merged into its left neighbour
    int64_t previous;
    int64_t next;
};

struct Candidate {
    float score;
    int64_t left;
    size_t bytes;  // of the union: another number tells that a side has been merged since
    bool operator<(const Candidate& other) const {
        return score != other.score ? score < other.score : left > other.left;
    }
};

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

    std::vector<Node> nodes;
    for (size_t at = 0; at < view.size();) {
        const auto bytes = static_cast<size_t>(first_utf8(view.substr(at)).bytes);
        const auto index = static_cast<int64_t>(nodes.size());
        nodes.push_back({at, bytes, index - 1, index + 1});
        at += bytes;
    }
    if (nodes.empty()) return;
    nodes.back().next = kEnd;

    std::priority_queue<Candidate> queue;
    const auto consider = [&](int64_t left) {
        if (left == kEnd || nodes[left].next == kEnd) return;
        const size_t bytes = nodes[left].bytes + nodes[nodes[left].next].bytes;
        const int32_t id = vocabulary_.find(view.substr(nodes[left].begin, bytes));
        if (id != kNoToken) queue.push({vocabulary_.score(id), left, bytes});
    };
    for (size_t i = 0; i < nodes.size(); ++i) consider(static_cast<int64_t>(i));

    while (!queue.empty()) {
        const Candidate best = queue.top();
        queue.pop();
        Node& left = nodes[best.left];
        if (left.bytes == 0 || left.next == kEnd ||
            left.bytes + nodes[left.next].bytes != best.bytes)
            continue;
        Node& right = nodes[left.next];
        left.bytes = best.bytes;
        left.next = right.next;
        if (right.next != kEnd) nodes[right.next].previous = best.left;
        right.bytes = 0;
        consider(left.previous);
        consider(best.left);
    }

    for (int64_t i = 0; i != kEnd; i = nodes[i].next) {
        const std::string_view piece = view.substr(nodes[i].begin, nodes[i].bytes);
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
