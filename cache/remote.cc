#include "cache/remote.h"

#include <fmt/format.h>

#include "cache/error.h"
#include "cache/index.h"
#include "cache/object_file.h"
#include "cache/remote_object.h"

namespace hetune {

bool CircuitBreaker::allows() {
    const std::scoped_lock lock(mutex_);
    if (failures_ < kFailures) return true;
    if (trying_ || clock_() < closed_until_) return false;
    trying_ = true;
    return true;
}

void CircuitBreaker::succeeded() {
    const std::scoped_lock lock(mutex_);
    failures_ = 0;
    trying_ = false;
}

bool CircuitBreaker::failed() {
    const std::scoped_lock lock(mutex_);
    ++failures_;
    trying_ = false;
    if (failures_ >= kFailures) closed_until_ = clock_() + kPause;
    return failures_ == kFailures;
}

std::unique_ptr<RemoteCache> RemoteCache::open(const RemoteOptions& options, const Trust& trust,
                                               Warn warn) {
    if (options.url.empty()) return nullptr;
    try {
        if (!trust.required && !options.trust_all)
            throw RemoteError(
                "whoever can write there could run code here; name the keys that you trust in "
                "HETUNE_TRUSTED_KEYS, or set HETUNE_REMOTE_TRUST=1");
        std::optional<SigningKey> key;
        if (!options.signing_key.empty()) key = SigningKey::load(options.signing_key);
        return std::make_unique<RemoteCache>(make_transport(options.url), trust, std::move(key),
                                             std::move(warn));
    } catch (const std::runtime_error& error) {
        warn("remote", fmt::format("the remote cache is not used: {}", error.what()));
        return nullptr;
    }
}

RemoteCache::RemoteCache(std::unique_ptr<RemoteTransport> transport, Trust trust,
                         std::optional<SigningKey> key, Warn warn, CircuitBreaker::Clock clock)
    : transport_(std::move(transport)),
      trust_(std::move(trust)),
      key_(std::move(key)),
      warn_(std::move(warn)),
      breaker_(std::move(clock)) {}

// False: not asked, or no answer.
template <class Ask>
bool RemoteCache::ask(const Ask& request) {
    if (!breaker_.allows()) return false;
    try {
        request();
        breaker_.succeeded();
        return true;
    } catch (const std::exception& error) {  // also of a signature, or no memory
        warn_("remote", fmt::format("{} fails: {}", transport_->name(), error.what()));
        if (breaker_.failed())
            warn_("remote pause", fmt::format("{} is left alone for {} s", transport_->name(),
                                              CircuitBreaker::kPause.count()));
        return false;
    }
}

std::optional<RemoteCache::Fetched> RemoteCache::fetch(const CacheKey& key) {
    std::optional<std::vector<std::byte>> value;
    if (!ask([&] { value = transport_->get(object_name(key)); }) || !value) return std::nullopt;
    try {
        auto file = decode_remote_object(key, *value, trust_);
        if (auto code = decode_object(file, key)) return Fetched{*std::move(code), std::move(file)};
        throw CacheError(
            fmt::format("the remote object {} is no code object of that key", key.hex()));
    } catch (const CacheError& error) {
        {
            const std::scoped_lock lock(refused_mutex_);
            refused_.insert(key);
        }
        warn_("remote object", fmt::format("{}; it is not used", error.what()));
        return std::nullopt;
    }
}

void RemoteCache::store(const CacheKey& key, std::span<const std::byte> file) {
    if (trust_.required && !key_) return;
    const std::string name = object_name(key);
    bool replaces = false;
    {
        const std::scoped_lock lock(refused_mutex_);
        replaces = refused_.contains(key);
    }
    ask([&] {
        if (!replaces && transport_->has(name)) return;  // another machine was quicker
        const auto value = encode_remote_object(key, file, key_ ? &*key_ : nullptr);
        if (value.size() <= kMaxRemoteBytes) transport_->put(name, value);
    });
}

}  // namespace hetune
