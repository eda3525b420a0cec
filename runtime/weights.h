// A model's weights in device memory: matrices in tiles, vectors as in the file, the rotary table.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/tile_store.h"
#include "planner/plan.h"
#include "runtime/device.h"

namespace hetune {

class Weights {
  public:
    // Counts tensors done of those that are packed.
    using Progress = std::function<void(size_t done, size_t total)>;

    // `store` may be nullptr: tiles are packed anew, in memory. All four outlive this.
    Weights(Device& device, const ModelFile& file, const LayerGraph& graph, TileStore* store)
        : device_(device), file_(file), graph_(graph), store_(store) {}

    // Makes what these buffers need (those of role kTiles, kRaw and kTurns). Tiles are mapped from
    // the store, or repacked with all cores and kept there.
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
    std::map<std::string, std::vector<std::byte>> packed_;
    std::map<std::string, std::unique_ptr<Buffer>> buffers_;
    bool repacked_ = false;
};

// Tiles of a model in the store, whatever device they are for.
struct StoredTiles {
    TilePack pack;
    std::string model, layout;  // as in a bundle or a cache folder
    bool repacked = false;      // now, and not before
};

// Empty when the store has none of this model.
std::optional<StoredTiles> find_tiles(const ModelFile& file, TileStore& store);

// Those of role kTiles among `buffers`, repacked with all cores where the store lacks them. Empty
// where it cannot take them, after its warning. `file` has its weights.
std::optional<StoredTiles> store_tiles(const ModelFile& file,
                                       const std::vector<PlanBuffer>& buffers, TileStore& store,
                                       const Weights::Progress& progress = {});

// What identifies the weights of a model file, whatever its name and place: the hash of its header
// and of samples of each tensor.
CacheKey identify_model(const ModelFile& file);

}  // namespace hetune
