#include "cache/code_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <ctime>
#include <system_error>

#include "cache/folder.h"
#include "cache/object_file.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

constexpr size_t kUsesPerFlush = 4096;

}  // namespace

template <class Use>
void CodeStore::with_index(const Use& use) {
    const std::scoped_lock lock(index_mutex_);
    if (!index_) return;
    try {
        use(*index_);
    } catch (const DatabaseError& error) {
        if (error.busy()) return;  // the row comes with a later use of the file
        if (error.damaged()) Index::mark_damaged(writable_);
        index_.reset();
        warn_once("index", fmt::format("going on without the index: {}", error.what()));
    } catch (const std::exception& error) {
        index_.reset();
        warn_once("index", fmt::format("going on without the index: {}", error.what()));
    }
}

CodeStore::CodeStore(CacheOptions options)
    : options_(std::move(options)),
      layer_hits_(std::make_unique<std::atomic<uint64_t>[]>(options_.layers.size())) {
    for (auto& layer : options_.layers) {
        const FolderCheck check = check_layer(layer);
        if (check.use != FolderUse::kRefused) continue;
        warn_once(layer.c_str(), fmt::format("layer is not used: {}", check.why));
        layer.clear();  // keeps its place, for layer_hits
    }
    if (options_.folder.empty()) return;
    try {
        const FolderCheck check = options_.read_only ? check_layer(options_.folder)
                                                     : prepare_cache_folder(options_.folder);
        if (check.use == FolderUse::kRefused) {
            warn_once("folder", fmt::format("kernels are kept in memory only: {}", check.why));
            return;
        }
        folder_ = options_.folder;
        if (check.use == FolderUse::kReadOnly && !options_.read_only)
            warn_once("folder", fmt::format("read-only, new kernels are kept in memory only: {}",
                                            check.why));
        if (check.use == FolderUse::kReadOnly) return;
        writable_ = folder_;
        const bool local_disk = options_.local_disk.value_or(check.local_disk);
        sweep_temp_files(writable_ / "tmp", local_disk);
        index_ = Index::open(writable_, local_disk, options_.warn);
    } catch (const std::exception& error) {
        warn_once("folder", fmt::format("kernels are kept in memory only: {}", error.what()));
    }
}

CodeStore::~CodeStore() { flush(); }

std::optional<CodeObject> CodeStore::find(const CacheKey& key) {
    auto code = load(key);
    if (!code) {
        ++misses_;
        return std::nullopt;
    }
    ++hits_;
    saved_us_ += static_cast<int64_t>(code->compile_ms * 1000);
    return code;
}

void CodeStore::put(const CacheKey& key, const CodeObject& code, const KeyParts& parts) {
    if (!writable_.empty() && store_file(key, code, parts)) return;
    const std::unique_lock lock(memory_mutex_);
    memory_.insert_or_assign(key, code);
}

std::optional<CodeObject> CodeStore::load(const CacheKey& key) {
    for (size_t i = 0; i < options_.layers.size(); ++i) {
        if (options_.layers[i].empty()) continue;
        auto code = load_file(options_.layers[i], key);
        if (!code) continue;
        ++layer_hits_[i];
        return code;
    }
    if (!folder_.empty()) {
        if (auto code = load_file(folder_, key)) {
            if (!writable_.empty()) remember_use(key);
            return code;
        }
    }
    const std::shared_lock lock(memory_mutex_);
    const auto found = memory_.find(key);
    return found == memory_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<CodeObject> CodeStore::load_file(const std::filesystem::path& folder,
                                               const CacheKey& key) {
    const std::filesystem::path path = object_path(folder, key);
    const auto bytes = read_file(path, kMaxObjectBytes);
    if (!bytes) return std::nullopt;
    auto code = decode_object(*bytes, key);
    if (code) return code;

    ++damaged_;
    if (folder == writable_) {
        unlink(path.c_str());
        with_index([&](Index& index) { index.remove(key); });
        warn_once("damaged", fmt::format("{} was damaged and is removed; it is compiled again",
                                         path.string()));
    } else {
        warn_once("damaged", fmt::format("{} is damaged and ignored", path.string()));
    }
    return std::nullopt;
}

bool CodeStore::store_file(const CacheKey& key, const CodeObject& code, const KeyParts& parts) try {
    const auto bytes = encode_object(key, code, parts);
    if (bytes.size() > kMaxObjectBytes) return false;
    TempFile file(writable_ / "tmp");
    file.write(bytes);
    file.commit(object_path(writable_, key));
    ++stored_;
    with_index([&](Index& index) {
        index.add({key, code.entry, code.compile_ms, parts, bytes.size()}, std::time(nullptr));
    });
    return true;
} catch (const std::exception& error) {
    warn_once("write", fmt::format("a kernel is kept in memory only: {}", error.what()));
    return false;
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
    with_index([&](Index& index) {
        if (!uses.empty()) index.touch(uses);
        const CacheStatistics now = statistics();
        const auto since = [](auto now, auto before) { return static_cast<double>(now - before); };
        index.count({{"hits", since(now.hits, counted_.hits)},
                     {"misses", since(now.misses, counted_.misses)},
                     {"stored", since(now.stored, counted_.stored)},
                     {"damaged", since(now.damaged, counted_.damaged)},
                     {"saved_ms", since(now.saved_ms, counted_.saved_ms)}});
        counted_ = now;
    });
}

CacheStatistics CodeStore::statistics() const {
    CacheStatistics statistics{hits_, misses_, stored_, damaged_, saved_us_ / 1000.0, {}};
    for (size_t i = 0; i < options_.layers.size(); ++i)
        statistics.layer_hits.push_back(layer_hits_[i]);
    return statistics;
}

void CodeStore::warn_once(const char* kind, const std::string& text) {
    if (!options_.warn) return;
    const std::scoped_lock lock(warned_mutex_);
    if (warned_.emplace(kind, true).second) options_.warn("cache: " + text);
}

}  // namespace hetune
