// Packs of repacked weights: tiles/<model>/<layout>.tiles, written once, mapped on every load.
//
// The way of a loader:
//
//   auto pack = tiles.open(model, layout);
//   if (!pack) pack = tiles.wait(model, layout);        // somebody else is writing it
//   if (!pack)
//       if (auto writer = tiles.begin(model, layout, tensors)) {
//           // any number of threads, for each i with !writer->finished(i):
//           //     writer->write(i, ...) all of it; writer->finish_tensor(i);
//           if (writer->commit()) pack = tiles.open(model, layout);
//       }
//   if (!pack) ...                                       // repack into memory
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/cache_folder.h"
#include "cache/key.h"
#include "cache/temp_file.h"
#include "cache/tile_file.h"
#include "cache/tile_pack.h"

namespace hetune {

// One pack being written; what is finished survives a kill, and the next begin() goes on from it.
class TileWriter {
  public:
    struct Tensor {
        std::string name;
        uint64_t bytes = 0;
    };

    // From any thread. Several may fill one tensor, in place or by write(); one of them finishes
    // it.
    std::span<std::byte> tensor(size_t index);
    // A part of a tensor. Quicker than in place, where the kernel clears each page before it is
    // written. False when the disk fails: then there is no use in going on.
    bool write(size_t index, uint64_t offset, std::span<const std::byte> bytes);
    void finish_tensor(size_t index);
    bool finished(size_t index) const { return finished_[index] != 0; }  // also by a run before

    // When all are finished: makes the pack durable and gives it its name. False, after a warning,
    // when the disk fails.
    bool commit();

  private:
    friend class TileStore;
    TileWriter(CacheFolder& folder, std::filesystem::path target, FileHandle file, Mapping mapping,
               std::vector<TileEntry> entries);
    void resume();

    CacheFolder* folder_;
    std::filesystem::path target_;
    FileHandle file_;  // NAME.partial, locked
    Mapping mapping_;
    std::vector<TileEntry> entries_;
    std::unique_ptr<TileJournal> journal_;
    std::vector<char> finished_;  // not bool: neighbours are written by different threads
};

// Thread-safe. Nothing throws because of the disk.
class TileStore {
  public:
    explicit TileStore(const CacheOptions& options);

    // Layers first, within a bundle too. A pack that is damaged is removed and absent.
    std::optional<TilePack> open(const CacheKey& model, std::string_view layout);

    // Waits as long as another process or thread is writing the pack, then opens it.
    std::optional<TilePack> wait(const CacheKey& model, std::string_view layout);

    // Empty, after a warning that says why, where there is no writable folder, no room on the disk
    // or under CacheOptions::max_tile_bytes; empty without one when somebody else is writing the
    // pack or has just done so. Removes the packs longest unused to make room.
    std::optional<TileWriter> begin(const CacheKey& model, std::string_view layout,
                                    const std::vector<TileWriter::Tensor>& tensors);

    // Removes a pack that failed verify().
    void discard(const CacheKey& model, std::string_view layout);
    // The same of one that open() gave; in a layer it stays, and this store opens it no more.
    void discard(const TilePack& pack);

    // The identity that remember_model() gave to these very files, if their settled_stat() is the
    // same: spares reading them again.
    std::optional<CacheKey> known_model(const std::vector<std::filesystem::path>& files);
    void remember_model(const std::vector<std::filesystem::path>& files, const CacheKey& identity);

  private:
    bool is_damaged(const std::filesystem::path& path);
    std::optional<TilePack> open_path(const std::filesystem::path& path);
    std::optional<TilePack> open_in_layer(size_t layer, const CacheKey& model,
                                          std::string_view layout);

    CacheFolder folder_;
    const Trust trust_;
    std::vector<std::unique_ptr<Bundle>> bundles_;  // one per layer; nullptr: a folder
    uint64_t max_bytes_;
    std::mutex damaged_mutex_;
    std::set<std::filesystem::path> damaged_;  // in layers
};

struct TilePackFile {
    std::filesystem::path path;
    std::string model;  // hex
    std::string layout;
    uint64_t bytes = 0;
    int64_t used = 0;  // Unix seconds: the last open
    bool partial = false;
};
// The packs of a cache folder or layer, longest unused first.
std::vector<TilePackFile> list_tile_packs(const std::filesystem::path& folder);

// Removes the packs longest unused until those left have at most `max_bytes`; also partial ones
// that nobody has written to for a day. What a process has open stays. Returns the bytes removed.
uint64_t evict_tile_packs(const std::filesystem::path& folder, uint64_t max_bytes);

}  // namespace hetune
