// A finished tile pack, mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
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
    // What a file may be where a pack is looked for.
    enum class State {
        kGood,
        kAbsent,
        kUnreadable,  // now, or for us: no descriptor or memory left, no right to read it
        kOlder,       // of an older version of the format
        kNewer,       // of a newer one
        kDamaged,     // its head, directory or length is wrong, or it is a pack of another name
    };

    // Tensors in the order they were given; `bytes` and hashes as they were written.
    const std::vector<TileEntry>& entries() const { return head_.entries; }
    const CacheKey& model() const { return head_.model; }
    const std::string& layout() const { return head_.layout; }
    // At a multiple of 4096 bytes. Empty when there is no such tensor.
    std::span<const std::byte> tensor(std::string_view name) const;
    // Reads the tensor and checks its hash: head and directory were checked on opening, the rest
    // is on demand. False also where there is no such tensor.
    bool verify(std::string_view name) const;
    bool verify_all() const;
    const TileEntry* find(std::string_view name) const;
    const std::filesystem::path& path() const { return path_; }
    std::span<const std::byte> file_bytes() const { return mapping_.bytes(); }

    struct Opened;
    // Of a file called MODEL/LAYOUT.tiles.
    static Opened open(const std::filesystem::path& path);
    // The same, whatever the file is called.
    static Opened open_any(const std::filesystem::path& path);
    // One that lies within a bundle, for which path() names bundle and member.
    static Opened open_member(const std::filesystem::path& bundle, const BundleMember& member);

  private:
    friend class TileReader;
    TilePack() = default;
    State map(uint64_t offset, uint64_t bytes);
    State check_name() const;

    std::filesystem::path path_;
    FileHandle file_;      // locked (shared), so that eviction knows it is in use
    uint64_t offset_ = 0;  // in the file
    Mapping mapping_;
    TileHead head_;
    std::unordered_map<std::string_view, size_t> by_name_;
};

constexpr bool is_other_version(TilePack::State state) {
    return state == TilePack::State::kOlder || state == TilePack::State::kNewer;
}

struct TilePack::Opened {
    State state = State::kAbsent;
    std::optional<TilePack> pack;  // exactly where it is kGood
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
