// Who is making what: processes and threads that start together make each key once.
//
// A claim is a file under claims/ that its owner holds locked (flock), so that it ends with the
// owner, however that dies; the owner writes its process number into it. Where locks do not work it
// is a row of the index (leases.h); without an index too, it counts within this process only, which
// costs a second compile.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "cache/key.h"
#include "cache/leases.h"
#include "cache/temp_file.h"

namespace hetune {

class Claims;

// The right to make one key, given back when it is destroyed. Must not outlive its Claims.
class Claim {
  public:
    Claim(Claim&& other) noexcept;
    Claim& operator=(Claim&&) = delete;
    ~Claim();

  private:
    friend class Claims;
    Claim(Claims& claims, const CacheKey& key) : claims_(&claims), key_(key) {}

    Claims* claims_;
    CacheKey key_;
    FileHandle file_;
    bool leased_ = false;
};

// Thread-safe.
class Claims {
  public:
    // An empty folder: within this process only. Removes claim files of dead owners.
    Claims(std::filesystem::path folder, bool local_disk);

    // Empty: somebody else is making it.
    std::optional<Claim> claim(const CacheKey& key);

    // True as soon as nobody claims `key`, also because its owner died; false after the time-out.
    bool wait(const CacheKey& key, std::chrono::milliseconds timeout);

    // The process that claims `key`; 0: none, or it does not say.
    int64_t owner(const CacheKey& key);

  private:
    friend class Claim;
    std::filesystem::path path(const CacheKey& key) const { return folder_ / key.hex(); }
    // Whether this process may go on; fills in the file or the lease.
    bool take(Claim& claim);
    bool claimed_elsewhere(const CacheKey& key);
    void release(Claim& claim);

    std::filesystem::path folder_;  // .../claims; empty: no files
    std::unique_ptr<Leases> leases_;
    std::mutex mutex_;
    std::condition_variable released_;
    std::set<CacheKey> held_;  // by this process
};

}  // namespace hetune
