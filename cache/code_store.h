// Keeps code objects on disk. Any number of processes and threads may share one folder.
//
// Nothing here throws because of the disk: what cannot be read is a miss, what cannot be written
// stays in memory, and the user is told once.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/code_object.h"
#include "cache/index.h"
#include "cache/key.h"
#include "cache/options.h"

namespace hetune {

struct CacheStatistics {
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t stored = 0;    // on disk
    uint64_t damaged = 0;   // entries that failed their check
    double saved_ms = 0;    // compile time of the hits
    std::vector<uint64_t> layer_hits;  // one per CacheOptions::layers; included in `hits`

    bool operator==(const CacheStatistics&) const = default;
};

// Thread-safe. Do not use one across fork().
class CodeStore {
  public:
    // Checks the folder, opens the index and sweeps what killed writers left. A folder that cannot
    // be used gives a store in memory and one warning, one that cannot be written a read-only one.
    explicit CodeStore(CacheOptions options);
    ~CodeStore();  // writes the times of last use and the counters
    CodeStore(const CodeStore&) = delete;
    CodeStore& operator=(const CodeStore&) = delete;

    // Layers first, then the folder, then what is in memory only. A damaged entry is removed and
    // is a miss, so that it is compiled again.
    std::optional<CodeObject> find(const CacheKey& key);

    // Best effort: a full disk loses the entry, not the run. With two writers of one key either
    // entry is good, so the last one wins.
    void put(const CacheKey& key, const CodeObject& code, const KeyParts& parts);

    CacheStatistics statistics() const;  // of this store, since it was opened
    // The folder that is written to; empty while the store is in memory or read-only.
    const std::filesystem::path& writable_folder() const { return writable_; }

  private:
    std::optional<CodeObject> load(const CacheKey& key);
    std::optional<CodeObject> load_file(const std::filesystem::path& folder, const CacheKey& key);
    bool store_file(const CacheKey& key, const CodeObject& code, const KeyParts& parts);
    void remember_use(const CacheKey& key);
    void flush();
    void warn_once(const char* kind, const std::string& text);
    // Runs `use(index)` if there is an index; one that fails for good is dropped.
    template <class Use>
    void with_index(const Use& use);

    CacheOptions options_;
    std::filesystem::path folder_;    // readable; empty: none
    std::filesystem::path writable_;  // the same, or empty

    std::mutex index_mutex_;
    std::unique_ptr<Index> index_;  // nullptr: the files alone must do
    CacheStatistics counted_;       // what the index has counted already

    std::mutex uses_mutex_;
    std::unordered_map<std::string, int64_t> uses_;  // since the last flush

    std::shared_mutex memory_mutex_;
    std::map<CacheKey, CodeObject> memory_;  // what the disk did not take

    std::mutex warned_mutex_;
    std::map<std::string, bool> warned_;

    std::atomic<uint64_t> hits_ = 0;
    std::atomic<uint64_t> misses_ = 0;
    std::atomic<uint64_t> stored_ = 0;
    std::atomic<uint64_t> damaged_ = 0;
    std::atomic<int64_t> saved_us_ = 0;
    std::unique_ptr<std::atomic<uint64_t>[]> layer_hits_;
};

}  // namespace hetune
