// zstd of whole pieces of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace hetune {

// What claims to unpack to more than this many times its size is a bomb: code objects compress 3
// to 20 times, the headers of models up to 50.
constexpr uint64_t kMaxRatio = 1000;

// Equal bytes give equal bytes. Throws CacheError.
std::vector<std::byte> compress(std::span<const std::byte> bytes);

// Empty unless `stored` is exactly `bytes` bytes compressed. The caller has bounded `bytes`.
std::optional<std::vector<std::byte>> decompress(std::span<const std::byte> stored, uint64_t bytes);

}  // namespace hetune
