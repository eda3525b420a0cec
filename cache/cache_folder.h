// One cache folder as a process uses it: checked, with its index open, its layers checked and its
// warnings given once. Shared by CodeStore and TileStore.
#pragma once

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
    // As in CacheOptions; empty in the place of one that was refused.
    const std::vector<std::filesystem::path>& layers() const { return layers_; }

    // Runs `use` if there is an index. False: there is none, it was busy, or it failed; one that
    // fails for good is dropped, and one that is damaged is made again by the next process.
    bool with_index(const std::function<void(Index&)>& use);
    bool has_index();

    // One warning for each kind.
    void warn_once(const std::string& kind, const std::string& text) const;

  private:
    void open(const CacheOptions& options);
    void drop_index(const std::exception& error);

    WarnFunction warn_;
    mutable std::mutex warned_mutex_;
    mutable std::set<std::string> warned_;

    std::filesystem::path readable_;
    std::filesystem::path writable_;
    std::vector<std::filesystem::path> layers_;
    bool local_disk_ = true;

    std::mutex index_mutex_;
    std::unique_ptr<Index> index_;
};

// One for each layer; nullptr for a folder, and for a bundle that is refused, after a warning.
std::vector<std::unique_ptr<Bundle>> open_bundles(CacheFolder& folder, const Trust& trust);

}  // namespace hetune
