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
    // The state of a slot: `bytes` of a buffer from `offset` on, which outlives this, as does the
    // device.
    struct State {
        Buffer* buffer = nullptr;
        size_t offset = 0, bytes = 0;
    };
    // Memory for `count` copies is taken at once. Without a state, or with none to keep, nothing is
    // ever kept.
    StateSnapshots(Device& device, const State& state, int count, int64_t context);

    bool has_state() const { return state_.bytes > 0; }
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
        std::unique_ptr<Buffer> copy;  // of state_
    };
    void make_room();

    Device& device_;
    State state_;
    int64_t every_ = 0;
    std::vector<Snapshot> kept_;  // in order of position
    std::vector<std::unique_ptr<Buffer>> free_;
};

}  // namespace hetune
