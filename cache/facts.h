// Facts about kernels: certificates of trials, refusals of compilers, counts of
// instructions. A code object never changes, and any copy of it will do; a fact may be found anew,
// and the newest one is true. So facts have a place of their own, facts/ab/KEY in the folder, and
// the local one is asked first.
//
// Only good facts travel, in bundles and in layers. A failure or a refusal stays on the machine
// that saw it, and nothing goes to a remote cache: what is wrong with one machine is no news for
// another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/bundle.h"
#include "cache/cache_folder.h"
#include "cache/key.h"

namespace hetune {

struct FactKey {
    std::string kind;  // "certificate", "refusal", "instructions"
    CacheKey object;   // hash of the object's bytes; of a refusal, which has none, the kernel's key
    std::string arch;  // "gfx1100"
    std::string device;   // backend and driver; empty: holds on any
    std::string version;  // of what found the fact
    std::string about;    // all else that the fact depends on

    auto operator<=>(const FactKey&) const = default;
    CacheKey hash() const;
};

struct Fact {
    FactKey key;
    std::string kernel;   // the template, for people
    bool good = false;    // may travel
    std::string value;    // a JSON object; of FactStore::find() not yet parsed
    int64_t created = 0;  // Unix seconds

    bool operator==(const Fact&) const = default;
};

// facts/ab/KEY, the place of a fact below a cache folder and in a bundle; whether a path is one.
std::string fact_name(const CacheKey& key);
bool is_fact_name(std::string_view path);
// Throws CacheError where the value is none.
std::string encode_fact(const Fact& fact);
// Whether the value is a JSON object.
bool is_whole(const Fact& fact);
// Throws CacheError for what is no fact, or damaged; OtherFormat for one of another version.
Fact decode_fact(std::string_view text);
// The same of a file. A fact under the name of another is damaged, too. Facts are small; a larger
// file is none.
Fact load_fact(const std::filesystem::path& path);
// Nothing where load_fact throws.
std::optional<Fact> read_fact(const std::filesystem::path& path);

// All files of a folder's facts, good or not.
std::vector<std::filesystem::path> fact_files(const std::filesystem::path& folder);
// Removes the oldest until `most` are left; gives how many went.
uint64_t drop_oldest_facts(const std::filesystem::path& folder, size_t most);
constexpr size_t kMaxFacts = 20000;  // of a folder: about 1 KiB each

// Thread-safe; any number of processes may share the folder. Nothing here throws because of the
// disk: what cannot be read is unknown, what cannot be written stays in memory.
class FactStore {
  public:
    // Both outlive the store.
    FactStore(const CacheFolder& folder, const std::vector<std::unique_ptr<Bundle>>& bundles)
        : folder_(folder), bundles_(bundles) {}

    // Memory, then the folder, then the layers, of which only good facts are taken.
    std::optional<Fact> find(const FactKey& key);
    // Takes the place of what was there.
    void put(Fact fact);
    void forget(const FactKey& key);

  private:
    std::optional<Fact> find_in_layers(const FactKey& key) const;

    const CacheFolder& folder_;
    const std::vector<std::unique_ptr<Bundle>>& bundles_;  // one for each layer, or nullptr
    std::mutex mutex_;
    std::map<CacheKey, Fact> memory_;  // what the disk did not take
};

}  // namespace hetune
