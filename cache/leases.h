// Claims as rows of the index, for file systems without locks. The owner counts a beat up every
// second; whoever sees one and the same beat for kLeaseSeconds by its own clock may take over, so
// that clocks of different machines need not agree. An owner on this machine (same boot, same pid
// namespace) that has died is recognised at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "cache/database.h"
#include "cache/key.h"
#include "cache/temp_file.h"

namespace hetune {

// Thread-safe. All functions throw DatabaseError.
class Leases {
  public:
    static constexpr std::chrono::seconds kLease{5};

    explicit Leases(const std::filesystem::path& folder);
    ~Leases();

    bool take(const CacheKey& key);  // false: somebody else has it
    bool taken(const CacheKey& key);
    void release(const CacheKey& key);
    int64_t owner(const CacheKey& key);  // the number of the process that has it; 0: nobody

  private:
    struct Seen {
        std::string owner;
        int64_t beat = 0;
        std::chrono::steady_clock::time_point since;
    };
    bool expired(const CacheKey& key, const Seen& now);
    void beat(std::stop_token stop);

    std::mutex mutex_;
    std::string owner_;
    FileHandle lock_;
    Database database_;
    std::map<CacheKey, Seen> seen_;
    std::set<CacheKey> held_;
    std::condition_variable_any stopping_;
    std::jthread heart_;  // started with the first lease
};

// "boot id:pid namespace:pid:start time" of this process: no other has or had the same.
std::string process_identity();
// False only when `identity` is of this boot and pid namespace, and that process is gone.
bool may_be_alive(const std::string& identity);

}  // namespace hetune
