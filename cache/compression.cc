#include "cache/compression.h"

#include <fmt/format.h>
#include <zstd.h>

#include "cache/error.h"

namespace hetune {
namespace {

constexpr int kZstdLevel = 9;

}  // namespace

std::vector<std::byte> compress(std::span<const std::byte> bytes) {
    std::vector<std::byte> stored(ZSTD_compressBound(bytes.size()));
    const size_t size =
        ZSTD_compress(stored.data(), stored.size(), bytes.data(), bytes.size(), kZstdLevel);
    if (ZSTD_isError(size)) throw CacheError(fmt::format("zstd: {}", ZSTD_getErrorName(size)));
    stored.resize(size);
    return stored;
}

std::optional<std::vector<std::byte>> decompress(std::span<const std::byte> stored,
                                                 uint64_t bytes) {
    std::vector<std::byte> content(bytes);
    const size_t size =
        ZSTD_decompress(content.data(), content.size(), stored.data(), stored.size());
    if (ZSTD_isError(size) || size != bytes) return std::nullopt;
    return content;
}

}  // namespace hetune
