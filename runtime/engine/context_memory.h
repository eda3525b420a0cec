// Memory for the contexts of one model's sequences: pages of keys and values, which all sequences
// share, and slots, each with a recurrent state and its copies. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/engine/loaded_model.h"
#include "runtime/engine/state_snapshots.h"
#include "runtime/load/step_state.h"

namespace hetune {

class ContextMemory {
  public:
    // Takes all memory at once: LoadOptions::sequences slots, and pages for as many contexts. The
    // model outlives this.
    explicit ContextMemory(const LoadedModel& model);

    int64_t context() const { return context_; }  // tokens that a slot may hold
    int slots() const { return static_cast<int>(slots_.size()); }
    int64_t bytes() const { return bytes_; }  // of all slots and pages, copies of states included
    int64_t free_pages() const { return static_cast<int64_t>(free_pages_.size()); }
    SlotStrides strides() const { return strides_; }

    // A slot without pages, whose recurrent state is that of no token; -1: all are taken.
    int take();
    void give_back(int slot);
    // Pages for the first `tokens` positions of a slot, besides those that it has. False, and
    // nothing has happened, where there are too few. A kernel that is launched behind this sees
    // them.
    bool reserve(int slot, int64_t tokens);
    // Copies of the slot's recurrent state.
    StateSnapshots& snapshots(int slot) { return *slots_[static_cast<size_t>(slot)].snapshots; }

    // The memory of a buffer of role kKv, kPages or kState (of the first slot); nullptr where there
    // is none of that name.
    Buffer* find(const std::string& name) const;

  private:
    struct Slot {
        bool taken = false;
        std::vector<int32_t> pages;
        std::unique_ptr<StateSnapshots> snapshots;
    };
    Device& device_;
    const int64_t context_;
    int64_t bytes_ = 0;
    SlotStrides strides_;
    std::unique_ptr<Buffer> states_;                          // of all slots, one behind another
    Buffer* table_ = nullptr;                                 // of pages, among buffers_
    std::map<std::string, std::unique_ptr<Buffer>> buffers_;  // KV, the table, parts of states_
    std::vector<Slot> slots_;
    std::vector<int32_t> free_pages_;  // the one that was given back last is taken first
};

}  // namespace hetune
