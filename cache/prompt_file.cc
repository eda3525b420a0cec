#include "cache/prompt_file.h"

#include <bit>
#include <cstring>

namespace hetune {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the head is stored as it lies in memory");

struct PromptHead {
    char magic[8];
    uint32_t version;
    uint32_t zero;
    uint64_t piece_bytes;
    uint64_t key_high, key_low;
    uint64_t hash_high, hash_low;
    uint64_t zeros;
};
static_assert(sizeof(PromptHead) == kPromptHeadBytes);

constexpr char kPromptMagic[8] = {'H', 'T', 'P', 'R', 'O', 'M', 'P', 'T'};

CacheKey hash_of(PromptHead head, std::span<const std::byte> piece) {
    head.hash_high = head.hash_low = 0;
    ContentHash hash;
    hash.add(std::as_bytes(std::span(&head, 1)));
    hash.add(piece);
    return hash.value();
}

}  // namespace

std::array<std::byte, kPromptHeadBytes> encode_prompt_head(const CacheKey& key,
                                                           std::span<const std::byte> piece) {
    PromptHead head{};
    std::memcpy(head.magic, kPromptMagic, sizeof(kPromptMagic));
    head.version = kPromptVersion;
    head.piece_bytes = piece.size();
    head.key_high = key.high;
    head.key_low = key.low;
    const CacheKey hash = hash_of(head, piece);
    head.hash_high = hash.high;
    head.hash_low = hash.low;
    return std::bit_cast<std::array<std::byte, kPromptHeadBytes>>(head);
}

std::optional<std::span<const std::byte>> decode_prompt_file(std::span<const std::byte> file,
                                                             const CacheKey& key) {
    PromptHead head;
    if (file.size() < sizeof(head)) return std::nullopt;
    std::memcpy(&head, file.data(), sizeof(head));
    const auto piece = file.subspan(sizeof(head));
    if (std::memcmp(head.magic, kPromptMagic, sizeof(kPromptMagic)) != 0 ||
        head.version != kPromptVersion || head.piece_bytes != piece.size() ||
        CacheKey{head.key_high, head.key_low} != key ||
        CacheKey{head.hash_high, head.hash_low} != hash_of(head, piece))
        return std::nullopt;
    return piece;
}

}  // namespace hetune
