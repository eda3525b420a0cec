// A model's weights in device memory: matrices in tiles, vectors as in the file, the rotary table.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "planner/plan.h"
#include "runtime/device.h"

namespace hetune {

class Weights {
  public:
    // Counts tensors done of those that are packed.
    using Progress = std::function<void(size_t done, size_t total)>;

    Weights(Device& device, const ModelFile& file, const LayerGraph& graph)
        : device_(device), file_(file), graph_(graph) {}

    // Makes what the plan needs and is not there yet. Repacks with all cores.
    void load(const Plan& plan, const Progress& progress = {});
    // The memory of a buffer of role kTiles, kRaw or kTurns that a loaded plan names.
    Buffer* find(const std::string& name) const;

    double repack_seconds() const { return repack_seconds_; }

  private:
    void load_tiles(const PlanBuffer& buffer);

    Device& device_;
    const ModelFile& file_;
    const LayerGraph& graph_;
    // Host memory that device buffers may use in place: declared first, so freed last.
    std::map<std::string, std::vector<std::byte>> packed_;
    std::map<std::string, std::unique_ptr<Buffer>> buffers_;
    double repack_seconds_ = 0;
};

}  // namespace hetune
