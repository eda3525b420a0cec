// Tuning results in the cache: tunings/KEY.json in the folder, in folder layers and in bundles.
// Each file describes itself and appears whole or not at all, so results survive the loss of
// index.db, and no schema ties them to a version of it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cache/bundle.h"
#include "cache/cache_folder.h"
#include "cache/left_out.h"
#include "cache/tuning_record.h"

namespace hetune {

// The place of a result below a cache folder and in a bundle.
std::string tuning_name(const CacheKey& key);
// The text of a file, with a checksum (json_text.h), and back. Throws CacheError for what is no
// result or is damaged, OtherFormat for a result of another version.
std::string encode_tuning(const TuningRecord& record);
TuningRecord decode_tuning(std::span<const std::byte> file);

// The good results of a folder; `left_out` gets the others.
std::vector<TuningRecord> list_tunings(const std::filesystem::path& folder,
                                       LeftOut* left_out = nullptr);

// One thread at a time; any number of processes may share the folder. Reading does not throw:
// damaged results and those of another format are left out, with one warning; so are bundles that
// HETUNE_TRUSTED_KEYS refuses.
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
    void leave_out(const std::filesystem::path& path, const CacheError& problem) const;
    FileHandle lock() const;
    void read_bundle(const std::filesystem::path& path, std::vector<TuningRecord>& into) const;
    const CacheFolder& folder_;
};

}  // namespace hetune
