#include "cache/code_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <ctime>
#include <system_error>

#include "cache/maintenance.h"
#include "cache/object_file.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

constexpr size_t kUsesPerFlush = 4096;
constexpr std::chrono::milliseconds kWait{1000};
constexpr std::chrono::minutes kPatience{10};  // then a claimed key is made a second time

}  // namespace

CodeStore::CodeStore(const CacheOptions& options)
    : max_bytes_(options.max_bytes),
      folder_(options),
      counted_{.layer_hits = std::vector<uint64_t>(options.layers.size())},
      layer_hits_(std::make_unique<std::atomic<uint64_t>[]>(options.layers.size())) {
    for (const auto& layer : folder_.layers()) {
        bundles_.emplace_back();
        if (!std::filesystem::is_regular_file(layer)) continue;
        try {
            bundles_.back() = std::make_unique<Bundle>(layer);
        } catch (const CacheError& error) {
            folder_.warn_once(layer.string(), fmt::format("layer is not used: {}", error.what()));
        }
    }
    const std::filesystem::path& folder = folder_.writable();
    if (!folder.empty()) sweep_temp_files(folder / "tmp", folder_.local_disk());
    try {
        if (!folder.empty() && (folder_.local_disk() || folder_.has_index()))
            claims_ = std::make_unique<Claims>(folder, folder_.local_disk());
    } catch (const DatabaseError& error) {
        folder_.warn_once("claims", fmt::format("processes may compile twice: {}", error.what()));
    }
    if (!claims_) claims_ = std::make_unique<Claims>(std::filesystem::path(), true);
}

CodeStore::~CodeStore() { flush(); }

std::optional<CodeObject> CodeStore::find(const CacheKey& key) {
    auto code = load(key);
    if (!code) {
        count_miss(key);
        return std::nullopt;
    }
    return count_hit(*std::move(code));
}

CodeObject CodeStore::get_or_make(const CacheKey& key, const KeyParts& parts,
                                  const std::function<CodeObject()>& make) {
    const auto patience_ends = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
        if (auto code = load(key)) return count_hit(*std::move(code));
        const std::optional<Claim> claim = claims_->claim(key);
        if (!claim && std::chrono::steady_clock::now() < patience_ends) {
            claims_->wait(key, kWait);
            continue;
        }
        // The one before us may have finished between our look and our claim.
        if (auto code = load(key)) return count_hit(*std::move(code));
        count_miss(key);
        CodeObject code = make();
        put(key, code, parts);
        return code;
    }
}

CodeObject CodeStore::count_hit(CodeObject code) {
    ++hits_;
    saved_us_ += static_cast<int64_t>(code.compile_ms * 1000);
    return code;
}

void CodeStore::count_miss(const CacheKey& key) {
    const std::scoped_lock lock(missed_mutex_);
    missed_.insert(key);
}

void CodeStore::put(const CacheKey& key, const CodeObject& code, const KeyParts& parts) {
    if (!folder_.writable().empty() && store_file(key, code, parts)) return;
    const std::unique_lock lock(memory_mutex_);
    memory_.insert_or_assign(key, code);
}

std::optional<CodeObject> CodeStore::load(const CacheKey& key) {
    for (size_t i = 0; i < folder_.layers().size(); ++i) {
        auto code = load_layer(i, key);
        if (!code) continue;
        ++layer_hits_[i];
        return code;
    }
    if (!folder_.readable().empty()) {
        if (auto code = load_file(folder_.readable(), key)) {
            if (!folder_.writable().empty()) remember_use(key);
            return code;
        }
    }
    const std::shared_lock lock(memory_mutex_);
    const auto found = memory_.find(key);
    return found == memory_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<CodeObject> CodeStore::load_layer(size_t layer, const CacheKey& key) {
    if (folder_.layers()[layer].empty()) return std::nullopt;
    if (!bundles_[layer]) return load_file(folder_.layers()[layer], key);
    try {
        return bundles_[layer]->find(key);
    } catch (const CacheError& error) {
        ++damaged_;
        folder_.warn_once("damaged", error.what());
        return std::nullopt;
    }
}

std::optional<CodeObject> CodeStore::load_file(const std::filesystem::path& folder,
                                               const CacheKey& key) {
    const std::filesystem::path path = object_path(folder, key);
    const auto bytes = read_file(path, kMaxObjectBytes);
    if (!bytes) return std::nullopt;
    auto code = decode_object(*bytes, key);
    if (code) return code;

    ++damaged_;
    if (folder == folder_.writable()) {
        unlink(path.c_str());
        folder_.with_index([&](Index& index) { index.remove(key); });
        folder_.warn_once(
            "damaged",
            fmt::format("{} was damaged and is removed; it is compiled again", path.string()));
    } else {
        folder_.warn_once("damaged", fmt::format("{} is damaged and ignored", path.string()));
    }
    return std::nullopt;
}

bool CodeStore::store_file(const CacheKey& key, const CodeObject& code, const KeyParts& parts) try {
    const auto bytes = encode_object(key, code, parts);
    if (bytes.size() > kMaxObjectBytes) return false;
    TempFile file(folder_.writable() / "tmp");
    file.write(bytes);
    file.commit(object_path(folder_.writable(), key));
    ++stored_;
    folder_.with_index([&](Index& index) {
        index.add({key, code.entry, code.compile_ms, parts, bytes.size()}, std::time(nullptr));
    });
    keep_within_limit();
    return true;
} catch (const std::exception& error) {
    folder_.warn_once("write", fmt::format("a kernel is kept in memory only: {}", error.what()));
    return false;
}

void CodeStore::keep_within_limit() {
    uint64_t bytes = 0;
    folder_.with_index([&](Index& index) { bytes = index.object_bytes(); });
    if (bytes <= max_bytes_) return;
    flush();  // what was used since the last flush must not look old
    evict_objects(folder_, max_bytes_ / 10 * 9);  // some air, so that not every put evicts
}

void CodeStore::remember_use(const CacheKey& key) {
    bool full = false;
    {
        const std::scoped_lock lock(uses_mutex_);
        uses_[key.hex()] = std::time(nullptr);
        full = uses_.size() >= kUsesPerFlush;
    }
    if (full) flush();
}

void CodeStore::flush() {
    std::unordered_map<std::string, int64_t> uses;
    {
        const std::scoped_lock lock(uses_mutex_);
        uses.swap(uses_);
    }
    folder_.with_index([&](Index& index) {
        if (!uses.empty()) index.touch(uses);
        const CacheStatistics now = statistics();
        const auto since = [](auto now, auto before) { return static_cast<double>(now - before); };
        std::unordered_map<std::string, double> increments = {
            {"hits", since(now.hits, counted_.hits)},
            {"misses", since(now.misses, counted_.misses)},
            {"stored", since(now.stored, counted_.stored)},
            {"damaged", since(now.damaged, counted_.damaged)},
            {"saved_ms", since(now.saved_ms, counted_.saved_ms)}};
        for (size_t i = 0; i < now.layer_hits.size(); ++i)
            increments["layer " + folder_.layers()[i].string()] +=
                since(now.layer_hits[i], counted_.layer_hits[i]);
        index.count(increments);
        counted_ = now;
    });
}

CacheStatistics CodeStore::statistics() const {
    uint64_t missed = 0;
    {
        const std::scoped_lock lock(missed_mutex_);
        missed = missed_.size();
    }
    CacheStatistics statistics{hits_, missed, stored_, damaged_, saved_us_ / 1000.0, {}};
    for (size_t i = 0; i < folder_.layers().size(); ++i)
        statistics.layer_hits.push_back(layer_hits_[i]);
    return statistics;
}

}  // namespace hetune
