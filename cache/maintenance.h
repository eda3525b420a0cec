// Looking after a cache folder: eviction, verification, emptying.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cache/cache_folder.h"

namespace hetune {

// All objects in the order in which they were stored: the rows of the index or, where there is
// none (a read-only folder), what the heads of the files say.
std::vector<ObjectRow> list_objects(CacheFolder& folder);

struct ObjectTotal {
    uint64_t objects = 0;
    uint64_t bytes = 0;
};
ObjectTotal total_objects(CacheFolder& folder);

struct Removed {
    uint64_t objects = 0;
    uint64_t object_bytes = 0;
    uint64_t pack_bytes = 0;
    uint64_t texts = 0;  // tunings and recipes
};

// Removes the code objects longest unused until those left have at most `max_bytes`, and those not
// used for `max_age_seconds`. Readers of what is removed are not disturbed.
Removed evict_objects(CacheFolder& folder, uint64_t max_bytes,
                      std::optional<int64_t> max_age_seconds = {});

// Removes what an older hetune left in another format: tile packs, tunings, recipes, and the
// certificates that f35a233 kept as objects. What a newer hetune wrote stays.
Removed remove_older(CacheFolder& folder);

// Findings of `hetune cache verify`. Everything is read; the index is brought in line with the
// files, and with `repair` whatever is damaged is removed.
struct VerifyReport {
    uint64_t objects = 0;  // good ones
    uint64_t packs = 0;
    uint64_t recipes = 0;
    uint64_t tunings = 0;
    uint64_t facts = 0;
    std::vector<std::string> damaged;     // of all five, by path
    std::vector<std::string> older;       // of an older version of the format; left to remove_older
    std::vector<std::string> strange;     // files that this hetune did not write; left alone
    std::vector<std::string> unreadable;  // no right to read it, an I/O error; left alone
    // Leftovers of a killed writer: no damage, and removed.
    uint64_t rows_without_file = 0;
    uint64_t files_without_row = 0;
    std::string index_problem;  // what SQLite says; empty when it is sound
    bool clean() const { return damaged.empty() && unreadable.empty() && index_problem.empty(); }
};
VerifyReport verify_cache(CacheFolder& folder, bool repair);

// Removes all objects, packs, recipes and temporaries of the writable folder. What processes have
// open stays usable to them.
Removed clear_cache(CacheFolder& folder);

}  // namespace hetune
