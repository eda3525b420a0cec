// Packs of repacked weights: tiles/<model>/<layout>.tiles, written once, mapped on every load.
//
// The way of a loader:
//
//   auto [pack, writer] = tiles.open_or_begin(model, layout, tensors);
//   if (writer) {
//       // any number of threads, for each i with !writer->finished(i):
//       //     writer->write(i, ...) all of it; writer->finish_tensor(i, source);
//       if (writer->commit()) pack = tiles.open(model, layout);
//   }
//   if (!pack) ...  // repack into memory
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
    // `source`: what the tensor was made from (TensorHash).
    void finish_tensor(size_t index, const CacheKey& source);
    bool finished(size_t index) const { return finished_[index] != 0; }  // also by a run before

    // When all are finished: makes the pack durable and gives it its name. False, after a warning,
    // when the disk fails.
    bool commit();

  private:
    friend class TileStore;
    TileWriter(CacheFolder& folder, std::filesystem::path target, FileHandle file, Mapping mapping,
               TileHead head);
    void resume();
    void write_back();

    CacheFolder* folder_;
    std::filesystem::path target_;
    FileHandle file_;  // NAME.partial, locked
    Mapping mapping_;
    TileHead head_;
    std::unique_ptr<TileJournal> journal_;
    std::vector<char> finished_;  // not bool: neighbours are written by different threads
};

// Thread-safe. Nothing throws because of the disk.
class TileStore {
  public:
    explicit TileStore(const CacheOptions& options);

    // Layers first, within a bundle too. A pack that is damaged is removed and absent.
    std::optional<TilePack> open(const CacheKey& model, std::string_view layout);

    // Waits as long as another process or thread is writing the pack, then opens it. A writer that
    // does nothing is not waited for any longer than Patience allows, by this store never again.
    std::optional<TilePack> wait(const CacheKey& model, std::string_view layout);

    struct Turn {
        std::optional<TilePack> pack;      // it is there: perhaps after a wait
        std::optional<TileWriter> writer;  // it is ours to write
    };
    // Neither, after a warning that says why, where there is no writable folder, no room on the
    // disk or under CacheOptions::max_tile_bytes, or where the writer is stuck. Removes the packs
    // longest unused to make room.
    Turn open_or_begin(const CacheKey& model, std::string_view layout,
                       const std::vector<TileWriter::Tensor>& tensors);

    // Removes a pack that failed verify().
    void discard(const CacheKey& model, std::string_view layout);
    // The same of one that open() gave; in a layer it stays, and this store opens it no more.
    void discard(const TilePack& pack);

    // The identity that remember_model() gave to the files of this settled_stat(): spares reading
    // them again.
    std::optional<CacheKey> known_model(const std::string& stat);
    void remember_model(const std::string& stat, const CacheKey& identity);
    bool can_remember() { return folder_.has_index(); }
    // Up to this size a model is read whole at each start, to be known by all of its bytes.
    uint64_t hashed_model_bytes() const { return hashed_model_bytes_; }

    void warn_once(const std::string& kind, const std::string& text) const {
        folder_.warn_once(kind, text);
    }

  private:
    enum class Begun { kMine, kTheirs, kNot };
    Begun begin(const CacheKey& model, std::string_view layout,
                const std::vector<TileWriter::Tensor>& tensors, std::optional<TileWriter>& writer);
    bool wait_for_writer(const std::filesystem::path& partial);
    bool is_damaged(const std::filesystem::path& path);
    std::optional<TilePack> open_path(const std::filesystem::path& path);
    std::optional<TilePack> open_in_layer(size_t layer, const CacheKey& model,
                                          std::string_view layout);

    CacheFolder folder_;
    const Trust trust_;
    std::vector<std::unique_ptr<Bundle>> bundles_;  // one per layer; nullptr: a folder
    const PatienceTimes patience_;
    const uint64_t max_bytes_;
    const uint64_t hashed_model_bytes_;
    std::mutex damaged_mutex_;
    std::set<std::filesystem::path> damaged_;  // in layers
    std::mutex stuck_mutex_;
    std::set<std::filesystem::path>
        stuck_;  // partial packs whose writer was waited for long enough
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
