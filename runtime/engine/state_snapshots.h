// Copies of a slot's recurrent state at earlier positions of its context. A recurrence cannot be
// undone: to cut the context back, the nearest copy is restored and what follows it is run again.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/device/device.h"

namespace hetune {

class StateSnapshots {
  public:
    // `state`: the buffers that make up the state; they and the device outlive this. Memory for
    // `count` copies is taken at once. Without buffers, or with none to keep, nothing is ever kept.
    StateSnapshots(Device& device, std::vector<Buffer*> state, int count, int64_t context);

    bool has_state() const { return !state_.empty(); }
    // Keeps the state as that of `position`. Where all places are taken, the copy goes that leaves
    // the shortest gap between its neighbours; never the one at the highest position.
    void keep(int64_t position);
    // Whether a step from `before` to `after` passes a multiple of context / (count + 1): how often
    // a copy is kept while a text goes on.
    bool due(int64_t before, int64_t after) const;
    // Tokens from `position` to the next such multiple.
    int64_t until_due(int64_t position) const;
    // The state becomes that of the highest kept position up to `position`, or empty (0 tokens).
    // Copies beyond `position` are given up. Returns the position.
    int64_t restore(int64_t position);
    void forget_beyond(int64_t position);
    // Gives up all copies and empties the state.
    void clear();

    std::vector<int64_t> positions() const;  // of the copies, in order

  private:
    struct Snapshot {
        int64_t position;
        std::vector<std::unique_ptr<Buffer>> copies;  // of state_, in its order
    };
    void make_room();

    Device& device_;
    std::vector<Buffer*> state_;
    int64_t every_ = 0;
    std::vector<Snapshot> kept_;  // in order of position
    std::vector<std::vector<std::unique_ptr<Buffer>>> free_;
};

}  // namespace hetune
