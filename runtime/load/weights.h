// A model's weights in device memory: matrices in tiles, vectors as in the file, the rotary table.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/tile_store.h"
#include "planner/plan/plan.h"
#include "runtime/device/device.h"

namespace hetune {

// Tiles of a model in the store, whatever device they are for.
struct StoredTiles {
    TilePack pack;
    std::string model, layout;  // as in a bundle or a cache folder
    bool repacked = false;      // now, and not before
};

// The tile pack of one model file. A file up to TileStore::hashed_model_bytes() is read whole to
// know which model it holds. A larger one is known by its status or else by samples; then it is
// compared whole with its pack, once for each status.
class ModelTiles {
  public:
    using Progress = std::function<void(size_t done, size_t total)>;

    // `file` has its weights; both outlive this.
    ModelTiles(const ModelFile& file, TileStore& store);

    // Empty when the store has none of this model. What is found is not checked by its hashes.
    std::optional<StoredTiles> find();
    // Those of role kTiles among `buffers`, checked, and repacked with all cores where the store
    // lacks them. Empty where it cannot take them, after its warning. Throws ModelError where the
    // file changes meanwhile.
    std::optional<StoredTiles> find_or_make(const std::vector<PlanBuffer>& buffers,
                                            const Progress& progress = {});

    // Names the model by its content, and no other content. Reads a file whole where only samples
    // of it are known.
    CacheKey identity() const;

    // The pack that a load would take, read whole and compared with all bytes of the file, whatever
    // the status of the file proves. `mend`: a damaged pack is removed; where the pack is of other
    // content, the next load repacks the file.
    struct Comparison {
        enum class State { kNone, kSame, kOther, kDamaged } state = State::kNone;
        std::string path;  // of the pack
    };
    Comparison compare_whole(bool mend);

  private:
    void compare(const TilePack& pack);
    void remember();
    void check_unchanged() const;

    const ModelFile& file_;
    TileStore& store_;
    const std::string layout_;
    CacheKey model_;
    bool sampled_ = false;                    // another file may have the same name
    std::map<std::string, CacheKey> hashes_;  // of each tensor; empty for a large file
};

class Weights {
  public:
    // Counts tensors done of those that are packed. Any thread calls it, one at a time; load()
    // throws what it throws, once the tensors in hand are done.
    using Progress = ModelTiles::Progress;

    // `store` may be nullptr: tiles are packed anew, in memory. All four outlive this.
    Weights(Device& device, const ModelFile& file, const LayerGraph& graph, TileStore* store)
        : device_(device), file_(file), graph_(graph), store_(store) {}

    // Makes what these buffers need (those of role kTiles, kRaw and kTurns). Tiles are mapped from
    // the store, or repacked with all cores and kept there. Throws ModelError for a tensor with
    // NaN or infinity, as far as it is read from the file.
    void load(const std::vector<PlanBuffer>& buffers, const Progress& progress = {});
    // The memory of a loaded buffer; nullptr when there is none of that name.
    Buffer* find(const std::string& name) const;

    bool repacked() const { return repacked_; }

  private:
    void load_tiles(const std::vector<PlanBuffer>& buffers, const Progress& progress);
    // Tiles that the store has, checked on their way to memory of the device's own. False when it
    // has none.
    bool upload_stored(const std::vector<PlanBuffer>& buffers);
    Device& device_;
    const ModelFile& file_;
    const LayerGraph& graph_;
    TileStore* store_;
    // Host memory that device buffers may use in place: declared first, so freed last.
    std::optional<TilePack> tile_pack_;
    std::optional<ModelTiles> stored_;  // of `store_`, from the first load() that needs tiles
    std::map<std::string, std::vector<std::byte>> packed_;
    std::map<std::string, std::unique_ptr<Buffer>> buffers_;
    bool repacked_ = false;
};

// What identifies a model file, whatever its name and place: its header, its size, and all bytes of
// its tensors (`whole`) or 64 pages of each. Reads them with all cores.
CacheKey identify_model(const ModelFile& file, bool whole);

// Whether the tiles of `pack` are those of the tensors of `file`; reads these whole.
bool made_from(const TilePack& pack, const ModelFile& file);

}  // namespace hetune
