// Keeps code objects on disk. Any number of processes and threads may share one folder.
//
// Nothing here throws because of the disk: what cannot be read is a miss, what cannot be written
// stays in memory, and the user is told once.
#pragma once

#include <atomic>
#include <chrono>
#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/bundle.h"
#include "cache/cache_folder.h"
#include "cache/claims.h"
#include "cache/code_object.h"
#include "cache/facts.h"
#include "cache/key.h"
#include "cache/options.h"
#include "cache/recipe.h"
#include "cache/remote.h"

namespace hetune {

struct PlaceStatistics {
    std::string name;  // "layer PATH", "folder", "memory", "remote"
    uint64_t hits = 0;
    double saved_ms = 0;  // compile time of the hits; bundles do not tell it

    bool operator==(const PlaceStatistics&) const = default;
};

struct CacheStatistics {
    uint64_t hits = 0;
    uint64_t misses = 0;   // keys, however often each was asked for
    uint64_t stored = 0;   // on disk
    uint64_t damaged = 0;  // entries that failed their check
    double saved_ms = 0;
    std::vector<PlaceStatistics> places;  // in the order in which they are asked

    bool operator==(const CacheStatistics&) const = default;
};

// Thread-safe. Do not use one across fork().
class CodeStore {
  public:
    // Checks the folder, opens the index and sweeps what killed writers left. A folder that cannot
    // be used gives a store in memory and one warning, one that cannot be written a read-only one.
    explicit CodeStore(const CacheOptions& options);
    ~CodeStore();  // writes the times of last use and the counters
    CodeStore(const CodeStore&) = delete;
    CodeStore& operator=(const CodeStore&) = delete;

    // Layers first, then the folder, then what is in memory only, then the remote cache, whose
    // object is kept here from then on. A damaged entry is removed and is a miss, so that it is
    // compiled again.
    std::optional<CodeObject> find(const CacheKey& key);
    // The same without the remote cache; does not count misses.
    std::optional<CodeObject> find_here(const CacheKey& key);

    // Whose objects for an arch are here, in layers and folder: for who has no compiler.
    struct MadeBy {
        std::string compiler;  // its identity
        std::string options;
        int64_t created =
            0;  // Unix seconds, of the newest object; 0 in a bundle, which does not say

        auto operator<=>(const MadeBy&) const = default;
    };
    // The newest first. Reads the head of every object.
    std::vector<MadeBy> compilers(const std::string& arch) const;

    // An object that differs from `parts` in nothing but the build of its compiler: of layers (the
    // first that has one), then of the folder. Empty where there is none.
    struct OtherBuild {
        CacheKey key;
        std::string compiler;       // its identity
        std::string place;          // of statistics(): "layer PATH", "folder"
        bool signed_by_us = false;  // it is of a bundle that a key of HETUNE_TRUSTED_KEYS signed
    };
    std::optional<OtherBuild> find_other_build(const KeyParts& parts);

    // Best effort: a full disk loses the entry, not the run. With two writers of one key either
    // entry is good, so the last one wins. Beyond CacheOptions::max_bytes those longest unused go.
    void put(const CacheKey& key, const CodeObject& code, const KeyParts& parts);

    // find, or else make and put. Of all threads and processes that ask for one key at a time, one
    // makes it and the others wait for its result; they take over at once when it fails or dies.
    // What `make` throws reaches the caller. Nothing is locked while it runs but its own claim.
    // `waiting` is called about ten times a second while another one makes the key; what it throws
    // ends the wait.
    CodeObject get_or_make(const CacheKey& key, const KeyParts& parts,
                           const std::function<CodeObject()>& make,
                           const std::function<void()>& waiting = {});

    // The pieces of get_or_make, for who makes many keys at once. Ask find() again after both.
    std::optional<Claim> claim(const CacheKey& key) { return claims_->claim(key); }
    bool wait(const CacheKey& key, std::chrono::milliseconds timeout) {
        return claims_->wait(key, timeout);
    }

    // Whether what was asked for so far is worth a recipe: not where read-only layers had all of
    // it, so that a target of a shipped bundle writes nothing.
    bool wants_recipes() const;
    void record(const Recipe& recipe);  // best effort

    // Facts about the objects, in the same folder and layers.
    FactStore& facts() { return facts_; }

    CacheStatistics statistics() const;  // of this store, since it was opened
    // The folder that is written to; empty while the store is in memory or read-only.
    const std::filesystem::path& writable_folder() const { return folder_.writable(); }

    // Writes times of last use and counts, as the destructor does. False: the index is busy or
    // gone, and nothing is forgotten.
    bool flush();

  private:
    struct Found {
        CodeObject code;
        size_t place = 0;  // of places_
    };
    struct Place {
        std::string name;
        std::atomic<uint64_t> hits = 0;
        std::atomic<int64_t> saved_us = 0;
        explicit Place(std::string the_name) : name(std::move(the_name)) {}
    };
    size_t folder_place() const { return folder_.layers().size(); }
    size_t memory_place() const { return folder_place() + 1; }
    size_t remote_place() const { return folder_place() + 2; }

    std::optional<Found> load(const CacheKey& key);
    std::optional<Found> fetch(const CacheKey& key);
    std::optional<CodeObject> load_layer(size_t layer, const CacheKey& key);
    void read_builds();
    std::optional<CodeObject> load_file(const std::filesystem::path& folder, const CacheKey& key);
    void keep(const CacheKey& key, const CodeObject& code, const KeyParts& parts,
              std::span<const std::byte> file);
    bool store_file(const CacheKey& key, const CodeObject& code, const KeyParts& parts,
                    std::span<const std::byte> file);
    CodeObject count_hit(Found found);
    void say_waiting(int64_t owner, const KeyParts& parts);
    void count_miss(const CacheKey& key);
    void remember_use(const CacheKey& key);
    void keep_within_limit();

    const PatienceTimes patience_;
    const uint64_t max_bytes_;
    CacheFolder folder_;
    std::vector<std::unique_ptr<Bundle>> bundles_;  // one per layer; nullptr: a folder
    FactStore facts_{folder_, bundles_};
    std::unique_ptr<Claims> claims_;
    std::unique_ptr<RemoteCache> remote_;  // nullptr: none

    std::mutex uses_mutex_;
    std::unordered_map<std::string, int64_t> uses_;  // key in hex -> time, since the last flush
    CacheStatistics counted_;                        // what the index has counted already

    mutable std::mutex missed_mutex_;
    std::set<CacheKey> missed_;

    std::shared_mutex memory_mutex_;
    std::map<CacheKey, CodeObject> memory_;  // what the disk did not take

    // By key parts without the compiler's build; read when the first kernel is missing.
    std::once_flag builds_once_;
    std::map<std::string, OtherBuild> builds_;

    std::atomic<uint64_t> stored_ = 0;
    std::atomic<uint64_t> damaged_ = 0;
    std::deque<Place> places_;  // layers, folder, memory, remote
};

}  // namespace hetune
