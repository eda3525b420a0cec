// Tuning results in the cache: tunings/KEY.json in the folder, in folder layers and in bundles.
// Each file describes itself and appears whole or not at all, so results survive the loss of
// index.db, and no schema ties them to a version of it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cache/bundle.h"
#include "cache/cache_folder.h"
#include "cache/tuning_record.h"

namespace hetune {

// The place of a result below a cache folder and in a bundle.
std::string tuning_name(const CacheKey& key);
// Throws CacheError for what is no result.
TuningRecord decode_tuning(std::span<const std::byte> file);
std::string encode_tuning(const TuningRecord& record);

// One thread at a time; any number of processes may share the folder. Reading does not throw:
// damaged and newer results are left out, with one warning.
class TuningStore {
  public:
    // `folder` outlives the store.
    explicit TuningStore(const CacheFolder& folder) : folder_(folder) {}

    // Of the folder and its layers, each key once (the better result), sorted by key. Of one arch,
    // if it is not empty.
    std::vector<TuningRecord> all(std::string_view arch = {}) const;

    // Keeps the better of this and what is there; with `replace` this one. False where nothing can
    // be written. Throws std::system_error (a full disk).
    bool put(TuningRecord record, bool replace = false);
    // From the writable folder; the number of results removed.
    int remove(const std::vector<TuningKey>& keys);

  private:
    void read_folder(const std::filesystem::path& folder, std::vector<TuningRecord>& into) const;
    void read_bundle(const std::filesystem::path& path, std::vector<TuningRecord>& into) const;
    const CacheFolder& folder_;
};

}  // namespace hetune
