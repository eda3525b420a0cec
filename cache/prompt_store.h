// Pieces of computed prompts on disk (prompt_file.h), by key: one file each, in one folder, up to a
// number of bytes. What was used longest ago goes first.
//
// Any number of processes may share a folder. A store knows the files that were there when it was
// opened or last made room, and its own. A file that is damaged or cut is a miss, and removed.
// One thread at a time; nothing here throws because of the disk.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cache/key.h"
#include "cache/options.h"
#include "cache/prompt_file.h"

namespace hetune {

class PromptStore {
  public:
    using Time = std::chrono::sys_time<std::chrono::nanoseconds>;

    // Makes the folder (0700). One that others can write to is not used, one that cannot be written
    // is read only; each after a warning.
    PromptStore(std::filesystem::path folder, uint64_t max_bytes, WarnFunction warn);

    bool writable() const { return writable_; }
    bool has(const CacheKey& key) const { return entries_.contains(key); }
    // Whether there is a key with this `high`.
    bool has_any(uint64_t high) const;

    class Piece {
      public:
        std::span<const std::byte> bytes() const {
            return std::span(file_).subspan(kPromptHeadBytes);
        }

      private:
        friend class PromptStore;
        std::vector<std::byte> file_;
    };
    std::optional<Piece> find(const CacheKey& key);
    // Does not wait for the disk. On a failure (a full disk) one warning, and nothing is written
    // any more. A piece above the bytes of the whole store is not kept.
    void put(const CacheKey& key, std::span<const std::byte> piece, Time used);
    // Notes a use. False: there is no such piece, or it was used then or later.
    bool use(const CacheKey& key, Time used);

    uint64_t bytes() const { return bytes_; }  // of all files that are known

  private:
    struct Entry {
        uint64_t bytes = 0;
        Time used;  // the file's mtime
    };
    std::filesystem::path path(const CacheKey& key) const;
    void list();
    void make_room();
    void forget(const CacheKey& key);

    const std::filesystem::path folder_;
    const uint64_t max_bytes_;
    const WarnFunction warn_;
    bool writable_ = false;
    std::map<CacheKey, Entry> entries_;
    uint64_t bytes_ = 0;
};

// Whether `folder` lies in one of the folders in which the cache at `cache` keeps its own files,
// and removes them by its own rules. The cache's folder itself is none of these.
bool is_kept_by_cache(const std::filesystem::path& folder, const std::filesystem::path& cache);

}  // namespace hetune
