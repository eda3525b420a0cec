// A cache that machines share (HETUNE_REMOTE_CACHE), behind the folder: asked where nothing local
// has a key, told what was compiled. A service that fails costs a few time-outs, then it is left
// alone for a while; nothing here throws.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "cache/code_object.h"
#include "cache/key.h"
#include "cache/options.h"
#include "cache/remote_transport.h"

namespace hetune {

// Lets nothing through for kPause after kFailures failures in a row, then one try. Thread-safe.
class CircuitBreaker {
  public:
    static constexpr int kFailures = 3;
    static constexpr std::chrono::seconds kPause{30};
    using Clock = std::function<std::chrono::steady_clock::time_point()>;

    explicit CircuitBreaker(Clock clock = std::chrono::steady_clock::now)
        : clock_(std::move(clock)) {}

    bool allows();  // followed by succeeded() or failed()
    void succeeded();
    bool failed();  // whether this failure has opened it

  private:
    const Clock clock_;
    std::mutex mutex_;
    int failures_ = 0;
    bool trying_ = false;
    std::chrono::steady_clock::time_point closed_until_;
};

class RemoteCache {
  public:
    // One warning for each kind; the first argument is the kind.
    using Warn = std::function<void(const std::string& kind, const std::string& text)>;

    // Nothing where no remote cache is wanted, or where it is refused: then after a warning.
    static std::unique_ptr<RemoteCache> open(const RemoteOptions& options, const Trust& trust,
                                             Warn warn);

    RemoteCache(std::unique_ptr<RemoteTransport> transport, Trust trust,
                std::optional<SigningKey> key, Warn warn,
                CircuitBreaker::Clock clock = std::chrono::steady_clock::now);

    struct Fetched {
        CodeObject code;
        std::vector<std::byte> file;  // as in a cache folder
    };
    // What fails a check counts as absent, after a warning.
    std::optional<Fetched> fetch(const CacheKey& key);

    // Best effort. Does nothing where others would refuse it: keys are asked for, and we have none.
    void store(const CacheKey& key, std::span<const std::byte> file);

  private:
    template <class Ask>
    bool ask(const Ask& request);

    std::unique_ptr<RemoteTransport> transport_;
    const Trust trust_;
    const std::optional<SigningKey> key_;
    const Warn warn_;
    CircuitBreaker breaker_;
    std::mutex refused_mutex_;
    std::set<CacheKey> refused_;  // to be replaced by ours
};

}  // namespace hetune
