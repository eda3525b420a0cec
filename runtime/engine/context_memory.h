// Memory for the contexts of one model's sequences: pages of keys and values, which all sequences
// share, and slots, each with a recurrent state and its copies. The start of a sequence is kept
// here beyond its slot, as long as nothing else needs the pages: another sequence with the same
// start takes it over, at the same time or later. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine/loaded_model.h"
#include "runtime/engine/page_pool.h"
#include "runtime/engine/prefix_tree.h"
#include "runtime/engine/prompt_pieces.h"
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
    bool has_state() const { return states_ != nullptr; }  // a recurrent one
    SlotStrides strides() const { return strides_; }

    // A slot without pages, whose recurrent state is that of no token; -1: all are taken.
    int take();
    void give_back(int slot);
    // Pages for the first `tokens` positions of a slot, besides those that it has; prefixes that
    // were used longest ago make room. False, and the slot is as it was, where there are too few.
    // A kernel that is launched behind this sees them.
    bool reserve(int slot, int64_t tokens);

    // A slot without pages gets the longest prefix of `tokens` that is kept: its pages, and the
    // recurrent state behind them. The prefix may be empty. `exact`: PrefixTree::match().
    PrefixTree::Prefix take_prefix(int slot, std::span<const int32_t> tokens, bool exact);
    // How much of `tokens` is kept, though perhaps without a state to go on from.
    int64_t kept(std::span<const int32_t> tokens, bool exact);
    // Keeps the start of a slot's sequence, which is computed; `with_state`: its recurrent state is
    // that behind `tokens`, and is kept too.
    void keep_prefix(int slot, std::span<const int32_t> tokens,
                     std::span<const SequenceState::Stretch> stretches, bool with_state);
    // To be called before a kernel writes to the slot from `position` on, where that is not behind
    // all it has written: pages that others use as well are replaced from there, by copies as far
    // as their tokens stay.
    void write_from(int slot, int64_t position);

    // Prefixes are read from the store from now on, and written to it; it outlives this. `maker`:
    // what computes tokens here (maker_of_prompts()).
    void use_files(PromptStore& store, const std::string& maker);
    // Brings some of what files have of the start of `tokens`, and nothing here has, to where
    // take_prefix() finds it. Pages that were used longest ago make room. False: there is no more.
    bool read_prefix(std::span<const int32_t> tokens, bool exact);
    // Writes a page or a checkpoint that is in no file yet. False: there is none.
    bool write_piece();

    PrefixTree::Counts prefixes() const { return tree_.counts(); }
    void forget_prefixes() { tree_.clear(); }
    int free_pages() const { return pages_.free(); }

    // Copies of the slot's recurrent state.
    StateSnapshots& snapshots(int slot) { return *slots_[static_cast<size_t>(slot)].snapshots; }

    // The memory of a buffer of role kKv, kPages or kState (of the first slot); nullptr where there
    // is none of that name.
    Buffer* find(const std::string& name) const;

  private:
    struct Slot {
        bool taken = false;
        std::vector<int> pages;
        int64_t kept = 0;  // tokens that others may use as well
        std::unique_ptr<StateSnapshots> snapshots;
    };
    struct Kv {
        Buffer* buffer;
        size_t page_bytes;
    };
    struct FoundPages;
    // A recurrent state in a file: behind so many pages and the tokens that follow them.
    struct StatePlace {
        size_t pages = 0;
        std::span<const int32_t> tokens;
    };
    // Behind so many pages of the path; `exact`: only what prompt kernels made.
    bool has_piece(const FoundPages& found, size_t pages, std::span<const int32_t> tokens,
                   bool is_state, bool exact) const;
    std::optional<PromptPieces::Found> find_piece(const FoundPages& found, size_t pages,
                                                  std::span<const int32_t> tokens, bool is_state,
                                                  bool exact, PromptStore::Time now);
    size_t reach_of(const FoundPages& found, bool exact) const;
    std::optional<StatePlace> find_state(const FoundPages& found, bool exact);
    bool read_state(FoundPages& found, const StatePlace& place, bool exact, PromptStore::Time now);
    size_t page_bytes() const;  // of all layers
    void upload_page(int page, std::span<const std::byte> bytes);
    std::vector<std::byte> download_page(int page) const;

    Buffer* add(const std::string& name, int64_t bytes);
    Slot& own(int slot) { return slots_[static_cast<size_t>(slot)]; }
    // Makes a slot the only user of a page that it has together with others: by a copy of the page
    // or, where its tokens do not stay, by another page.
    void make_own(int& page, bool tokens_stay);
    void upload_pages(int slot, size_t first);

    Device& device_;
    const int64_t context_;
    int64_t bytes_ = 0;
    SlotStrides strides_;
    std::unique_ptr<Buffer> states_;                          // of all slots, one behind another
    size_t state_bytes_ = 0;                                  // of a slot
    Buffer* table_ = nullptr;                                 // of pages, among buffers_
    std::map<std::string, std::unique_ptr<Buffer>> buffers_;  // KV, the table, parts of states_
    std::vector<Kv> kv_;                                      // among buffers_
    std::vector<Slot> slots_;
    PagePool pages_;
    std::vector<std::unique_ptr<Buffer>> checkpoints_;  // copies of a slot's state, by number
    std::vector<int> free_checkpoints_;
    std::optional<PromptPieces> files_;
    PromptStore::Time kept_at_;  // of the last keep_prefix(), where there are files
    PrefixTree tree_;            // last: uses the others
};

}  // namespace hetune
