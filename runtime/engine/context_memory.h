// Keys, values and recurrent states of the sequences of one model, in slots: each holds one
// context. There is one slot. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "runtime/engine/loaded_model.h"
#include "runtime/engine/state_snapshots.h"

namespace hetune {

class ContextMemory {
  public:
    // Takes all memory at once. The model outlives this.
    explicit ContextMemory(const LoadedModel& model);

    int64_t context() const { return context_; }  // tokens of a slot
    int64_t bytes() const { return bytes_; }      // of all slots, copies of states included

    // A slot, whose recurrent state is that of no token; -1: all are taken.
    int take();
    void give_back(int slot);
    // Copies of the slot's recurrent state.
    StateSnapshots& snapshots(int slot);

    // The memory of a buffer of role kKv or kState; nullptr where there is none of that name.
    Buffer* find(const std::string& name) const;

  private:
    const int64_t context_;
    int64_t bytes_ = 0;
    bool taken_ = false;
    std::unique_ptr<Buffer> state_;  // all recurrent state, so that a snapshot is one copy
    std::map<std::string, std::unique_ptr<Buffer>> buffers_;  // KV, and parts of state_
    std::unique_ptr<StateSnapshots> snapshots_;
};

}  // namespace hetune
