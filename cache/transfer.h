// Cache folders to bundles and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cache/bundle.h"
#include "cache/cache_folder.h"
#include "cache/code_store.h"
#include "cache/facts.h"
#include "cache/tile_pack.h"
#include "cache/tuning_record.h"

namespace hetune {

struct ExportSelection {
    std::vector<std::string> archs;   // of objects, by the key part "arch"; empty: all
    bool tiles = false;               // tile packs too
    bool tunings = true;              // tuning results, of these archs
    const SigningKey* key = nullptr;  // signs the bundle
};

struct Transferred {
    uint64_t objects = 0;
    uint64_t packs = 0;
    uint64_t tunings = 0;
    uint64_t facts = 0;
    uint64_t present = 0;       // import: was there already
    uint64_t other_format = 0;  // of another version of the format, and left out
    uint64_t bytes = 0;         // of content
    uint64_t bundle_bytes = 0;  // export: of the file
};

// Writes what is good of the folder; damaged files are left out. Compile times are left out too,
// so that equal kernels give equal bundles. Throws CacheError and std::system_error.
Transferred export_bundle(const CacheFolder& folder, const ExportSelection& selection,
                          const std::filesystem::path& target);

struct BundledPack {
    std::string model, layout;
    const TilePack* pack = nullptr;
};

// Writes a bundle of these code objects, wherever the store has them (those it lacks are left out),
// of these tile packs, in the order of their paths, of these tuning results and of these facts, as
// far as they are good. The same bytes as
// export_bundle gives.
// Throws CacheError and std::system_error.
Transferred write_bundle(CodeStore& store, const std::map<CacheKey, KeyParts>& objects,
                         const std::vector<BundledPack>& packs,
                         const std::vector<TuningRecord>& tunings, const std::vector<Fact>& facts,
                         const std::filesystem::path& target, const SigningKey* key = nullptr);

// Checks each member and adds it (of two tuning results with one key the better stays) to the
// writable folder, under the same guarantees as any other entry: killed half-way, what has been
// added is whole. Members of another version of their format are counted and left out. Throws
// CacheError and std::system_error.
Transferred import_bundle(CacheFolder& folder, const Bundle& bundle);

}  // namespace hetune
