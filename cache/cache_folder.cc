#include "cache/cache_folder.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

#include "cache/folder.h"

namespace hetune {

CacheFolder::CacheFolder(const CacheOptions& options)
    : warn_(options.warn),
      trust_(options.trust),
      layers_(options.layers),
      index_pause_(options.index_pause) {
    for (auto& layer : layers_) {
        const FolderCheck check = check_layer(layer);
        if (check.use != FolderUse::kRefused) continue;
        warn_once(layer.string(), fmt::format("layer is not used: {}", check.why));
        layer.clear();
    }
    try {
        if (!options.folder.empty()) open(options);
    } catch (const std::exception& error) {
        warn_once("folder", fmt::format("in memory only: {}", error.what()));
    }
}

void CacheFolder::open(const CacheOptions& options) {
    const FolderCheck check =
        options.read_only ? check_layer(options.folder) : prepare_cache_folder(options.folder);
    if (check.use == FolderUse::kRefused) {
        warn_once("folder", fmt::format("in memory only: {}", check.why));
        return;
    }
    readable_ = options.folder;
    local_disk_ = options.local_disk.value_or(check.local_disk);
    if (check.use == FolderUse::kReadOnly) {
        if (!options.read_only)
            warn_once("folder",
                      fmt::format("read-only, what is new is kept in memory only: {}", check.why));
        return;
    }
    writable_ = readable_;
    if (!local_disk_)
        warn_once("network", fmt::format("{} is no local disk: slower, as it has no shared memory "
                                         "and no reliable locks",
                                         writable_.string()));
    index_ = Index::open(writable_, local_disk_, warn_);
}

bool CacheFolder::with_index(const std::function<void(Index&)>& use) {
    const std::scoped_lock lock(index_mutex_);
    if (!index_ || std::chrono::steady_clock::now() < busy_until_) return false;
    try {
        use(*index_);
        return true;
    } catch (const DatabaseError& error) {
        if (error.busy()) {
            busy_until_ = std::chrono::steady_clock::now() + index_pause_;
            return false;
        }
        if (error.damaged()) Index::mark_damaged(writable_);
        drop_index(error);
    } catch (const std::exception& error) {
        drop_index(error);
    }
    return false;
}

bool CacheFolder::has_index() {
    const std::scoped_lock lock(index_mutex_);
    return index_ != nullptr;
}

void CacheFolder::drop_index(const std::exception& error) {
    index_.reset();
    warn_failed("index", "going on without the index", error);
}

void CacheFolder::warn_once(const std::string& kind, const std::string& text) const {
    if (!warn_) return;
    const std::scoped_lock lock(warned_mutex_);
    if (warned_.insert(kind).second) warn_("cache: " + text);
}

void CacheFolder::warn_failed(const std::string& kind, const std::string& what,
                              const std::exception& error) const {
    if (is_disk_full(error))
        warn_once("full", full_disk_warning(writable_));
    else
        warn_once(kind, fmt::format("{}: {}", what, error.what()));
}

bool is_disk_full(const std::exception& error) {
    if (const auto* database = dynamic_cast<const DatabaseError*>(&error)) return database->full();
    const auto* system = dynamic_cast<const std::system_error*>(&error);
    const int code = system == nullptr ? 0 : system->code().value();
    return code == ENOSPC || code == EDQUOT;
}

std::string full_disk_warning(const std::filesystem::path& folder) {
    return fmt::format("{}: the disk is full: what is new is kept in memory only", folder.string());
}

std::vector<std::unique_ptr<Bundle>> open_bundles(CacheFolder& folder, const Trust& trust) {
    std::vector<std::unique_ptr<Bundle>> bundles;
    for (const auto& layer : folder.layers()) {
        bundles.emplace_back();
        std::error_code none;
        if (!std::filesystem::is_regular_file(layer, none)) continue;
        try {
            bundles.back() = std::make_unique<Bundle>(layer, trust);
        } catch (const CacheError& error) {
            folder.warn_once(layer.string(), fmt::format("layer is not used: {}", error.what()));
        }
    }
    return bundles;
}

}  // namespace hetune
