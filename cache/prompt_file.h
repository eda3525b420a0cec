// The file of one piece of a computed prompt: what the engine needs to go on behind it without
// computing it.
//
//   64 bytes   head: magic, format version, length, key, hash; little-endian
//   the piece  bytes that the engine understands (engine/prompt_pieces.h)
//
// The hash is xxh3-128 of the head, with zeros in its place, and of the piece.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "cache/key.h"

namespace hetune {

// Goes into the names of pieces, so that a file of another version is never asked for.
constexpr uint32_t kPromptVersion = 1;
constexpr size_t kPromptHeadBytes = 64;
constexpr uint64_t kMaxPromptBytes = 16ull << 30;

std::array<std::byte, kPromptHeadBytes> encode_prompt_head(const CacheKey& key,
                                                           std::span<const std::byte> piece);

// The piece, a part of `file`. Empty when anything is wrong: length, version, key or hash.
std::optional<std::span<const std::byte>> decode_prompt_file(std::span<const std::byte> file,
                                                             const CacheKey& key);

}  // namespace hetune
