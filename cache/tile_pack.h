// A finished tile pack, mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/bundle.h"
#include "cache/temp_file.h"
#include "cache/tile_file.h"

namespace hetune {

// Owns a shared mapping of a file, or of a part of one that starts at a page.
class Mapping {
  public:
    Mapping() = default;
    // Throws std::system_error.
    Mapping(const FileHandle& file, uint64_t bytes, bool writable, uint64_t offset = 0);
    Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
    Mapping& operator=(Mapping&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Mapping();
    std::span<std::byte> bytes() const { return bytes_; }

  private:
    std::span<std::byte> bytes_;
};

// A pack, mapped read-only. It stays whole while this lives, even when it is evicted.
class TilePack {
  public:
    // Tensors in the order they were given; `bytes` and `hash` as they were written.
    const std::vector<TileEntry>& entries() const { return entries_; }
    // At a multiple of 4096 bytes. Empty when there is no such tensor.
    std::span<const std::byte> tensor(std::string_view name) const;
    // Reads the tensor and checks its hash: head and directory were checked on opening, the rest
    // is on demand. False also where there is no such tensor.
    bool verify(std::string_view name) const;
    bool verify_all() const;
    const TileEntry* find(std::string_view name) const;
    const std::filesystem::path& path() const { return path_; }
    std::span<const std::byte> file_bytes() const { return mapping_.bytes(); }

    // Empty when the file is missing or its head, directory or length is wrong.
    static std::optional<TilePack> open(const std::filesystem::path& path);
    // One that lies within a bundle, for which path() names bundle and member.
    static std::optional<TilePack> open_member(const std::filesystem::path& bundle,
                                               const BundleMember& member);

  private:
    friend class TileReader;
    TilePack() = default;
    bool map(uint64_t offset, uint64_t bytes);

    std::filesystem::path path_;
    FileHandle file_;      // locked (shared), so that eviction knows it is in use
    uint64_t offset_ = 0;  // in the file
    Mapping mapping_;
    std::vector<TileEntry> entries_;
    std::unordered_map<std::string_view, size_t> by_name_;
};

// Reads a tensor of a pack from its first byte to its last and checks its hash on the way, without
// mapping it. Of several, each may be used by another thread. The pack outlives it.
class TileReader {
  public:
    TileReader(const TilePack& pack, const TileEntry& entry);
    // The next bytes. What cannot be read is left as it is, and the tensor is not good.
    void read(std::span<std::byte> to);
    // Whether all was read, and is as it was written.
    bool good() const;

  private:
    int file_;
    uint64_t next_, end_;  // in the file
    CacheKey wanted_;
    ContentHash hash_;
    bool failed_ = false;
};

}  // namespace hetune
