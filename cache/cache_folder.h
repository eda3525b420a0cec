// One cache folder as a process uses it: checked, with its index open, its layers checked and its
// warnings given once. Shared by CodeStore and TileStore.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cache/bundle.h"
#include "cache/index.h"
#include "cache/options.h"

namespace hetune {

// Thread-safe. Nothing here throws because of the disk.
class CacheFolder {
  public:
    explicit CacheFolder(const CacheOptions& options);

    // Empty: nothing can be read, or written.
    const std::filesystem::path& readable() const { return readable_; }
    const std::filesystem::path& writable() const { return writable_; }
    bool local_disk() const { return local_disk_; }
    const Trust& trust() const { return trust_; }
    // As in CacheOptions; empty in the place of one that was refused.
    const std::vector<std::filesystem::path>& layers() const { return layers_; }

    // Runs `use` if there is an index. False: there is none, it was busy, or it failed; one that
    // fails for good is dropped, and one that is damaged is made again by the next process. A busy
    // one (its writer may be stopped) is left alone for CacheOptions::index_pause.
    bool with_index(const std::function<void(Index&)>& use);
    bool has_index();

    // One warning for each kind.
    void warn_once(const std::string& kind, const std::string& text) const;
    // "`what`: `error`"; of a full disk one warning for all kinds.
    void warn_failed(const std::string& kind, const std::string& what,
                     const std::exception& error) const;

  private:
    void open(const CacheOptions& options);
    void drop_index(const std::exception& error);

    WarnFunction warn_;
    Trust trust_;
    mutable std::mutex warned_mutex_;
    mutable std::set<std::string> warned_;

    std::filesystem::path readable_;
    std::filesystem::path writable_;
    std::vector<std::filesystem::path> layers_;
    bool local_disk_ = true;

    const std::chrono::milliseconds index_pause_;
    std::mutex index_mutex_;
    std::unique_ptr<Index> index_;
    std::chrono::steady_clock::time_point busy_until_;
};

// Whether a disk or a quota is full.
bool is_disk_full(const std::exception& error);
std::string full_disk_warning(const std::filesystem::path& folder);

// One for each layer; nullptr for a folder, and for a bundle that is refused, after a warning.
std::vector<std::unique_ptr<Bundle>> open_bundles(CacheFolder& folder, const Trust& trust);

}  // namespace hetune
