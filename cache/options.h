// Where the cache lies and how large it may grow. The only place that reads the environment for
// the cache.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/patience.h"
#include "cache/signing.h"

namespace hetune {

using WarnFunction = std::function<void(const std::string&)>;

// A cache that machines share (remote.h).
struct RemoteOptions {
    std::string url;                    // redis://..., http://..., https://...; empty: none
    bool trust_all = false;             // without keys, use what anybody has stored there
    std::filesystem::path signing_key;  // of what is stored there; empty: unsigned
};

struct CacheOptions {
    std::filesystem::path folder;               // empty: in memory only
    std::vector<std::filesystem::path> layers;  // read-only folders or bundles, asked in this order
    uint64_t max_bytes = 2ull << 30;            // of all code objects
    uint64_t max_tile_bytes = 128ull << 30;     // of all tile packs
    // Models up to this size are read whole at each start, larger ones once for each change.
    uint64_t hashed_model_bytes = 1ull << 30;
    bool read_only = false;  // never write into `folder`
    // Empty: ask the file system. False: rollback journal instead of WAL, leases instead of locks.
    std::optional<bool> local_disk;
    PatienceTimes patience;  // with other processes that make the same
    // A busy index (its writer may be stopped) is left alone for so long. It has already been
    // waited for (index.cc, 2 s), which is too long for each kernel.
    std::chrono::milliseconds index_pause{10'000};
    Trust trust;  // whose bundles and remote objects are used
    RemoteOptions remote;
    WarnFunction warn;  // one line per call, from any thread; may be empty
};

// From HETUNE_CACHE_DIR, else XDG_CACHE_HOME/hetune, else HOME/.cache/hetune (none: in memory, with
// a warning); HETUNE_CACHE_PATH (layers, colon separated); HETUNE_CACHE_SIZE, HETUNE_TILES_SIZE.
// HETUNE_TRUSTED_KEYS (signing.h; keys that cannot be read give a warning, and nothing is trusted).
// HETUNE_REMOTE_CACHE, HETUNE_REMOTE_TRUST=1, HETUNE_SIGN_KEY (a file of `hetune cache keygen`).
// A size that cannot be read gives the default and a warning. `warn` gets each line once, also when
// several stores are opened with these options.
CacheOptions cache_options_from_environment(WarnFunction warn);

// "512M", "2G", "1.5T", "4096": binary multiples of bytes.
std::optional<uint64_t> parse_size(std::string_view text);

}  // namespace hetune
