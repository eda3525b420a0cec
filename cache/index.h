// index.db: what is known about the stored files, for listing, statistics, eviction and
// `hetune cache why`. The files are the truth: each describes itself, no hit asks the index, and
// an index that is lost, damaged or of a newer version is made again from the files.
//
// Any number of processes may share it (WAL, busy time-out); one thread at a time may use an Index.
// Never use one across fork().
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/bundle.h"
#include "cache/database.h"
#include "cache/key.h"
#include "cache/object_file.h"
#include "cache/options.h"
#include "cache/temp_file.h"

namespace hetune {

struct ObjectRow {
    CacheKey key;
    uint64_t bytes = 0;  // of the file
    double compile_ms = 0;
    std::string kernel;  // parts["template"]
    KeyParts parts;
    int64_t created = 0;  // Unix seconds
    int64_t used = 0;     // the same; kept to the hour
};

struct ObjectUse {
    CacheKey key;
    uint64_t bytes = 0;
    int64_t used = 0;
};

class Index {
  public:
    static constexpr int kSchemaVersion = 3;

    // Opens or makes folder/index.db, migrates an older one, sets a damaged or newer one aside
    // (index.db.aside) and fills a new one from the object files. Gives nullptr, after a warning,
    // where that cannot be done now: another process holds the broken index, the disk is full, the
    // file system has no locks.
    static std::unique_ptr<Index> open(const std::filesystem::path& folder, bool local_disk,
                                       const WarnFunction& warn);

    // All others throw DatabaseError.
    void add(const ObjectInfo& info, int64_t created);
    void remove(const CacheKey& key);
    void remove(const std::vector<CacheKey>& keys);
    void remove_all_objects();
    // Sets the time of last use (key in hex, Unix seconds), unless that was within the last hour.
    // A key without a row gets one from its file: its writer died before, or could not write it.
    void touch(const std::unordered_map<std::string, int64_t>& used_at);
    // In the order in which they were stored; of one kernel, if it is not empty.
    std::vector<ObjectRow> objects(std::string_view kernel = {});
    std::vector<ObjectUse> longest_unused(int limit);
    uint64_t object_bytes();
    uint64_t object_count();
    // Adds to persistent counters ("hits", "misses", "saved_ms", ...).
    void count(const std::unordered_map<std::string, double>& increments);
    std::unordered_map<std::string, double> counters();

    // The identity of the model whose files have this settled_stat().
    std::optional<CacheKey> model(const std::string& stat);
    void set_model(const std::string& stat, const CacheKey& identity);

    // What SQLite's integrity check says first; empty when the file is sound.
    std::string integrity_problem();

    // Makes the next process that is alone with the index set it aside.
    static void mark_damaged(const std::filesystem::path& folder);

  private:
    Index(const std::filesystem::path& folder, bool local_disk, FileHandle lock);
    std::filesystem::path folder_;
    FileHandle lock_;  // index.lock, shared: nobody replaces the file while it is open
    Database database_;
    Statement add_;
    Statement remove_;
    Statement touch_;
};

// A shared lock on folder/index.lock: while anyone has it, nobody replaces index.db. Throws
// DatabaseError where the file system has no locks.
FileHandle lock_index(const std::filesystem::path& folder);

// objects/ab/KEY, the place of an object below a cache folder
std::string object_name(const CacheKey& key);
std::filesystem::path object_path(const std::filesystem::path& folder, const CacheKey& key);

// The row of an object file, from its head; `used` is its time of creation.
std::optional<ObjectRow> read_object_row(const std::filesystem::path& path);

// Calls `use` for every object of a folder or of a bundle, with what its head says. What is damaged
// is left out.
void each_object(const std::filesystem::path& folder,
                 const std::function<void(const ObjectInfo&)>& use);
void each_object(const Bundle& bundle, const std::function<void(const ObjectInfo&)>& use);

// Calls `use(key, path)` for every object file of a cache folder or layer.
void each_object_file(
    const std::filesystem::path& folder,
    const std::function<void(const CacheKey& key, const std::filesystem::path& path)>& use);

}  // namespace hetune
