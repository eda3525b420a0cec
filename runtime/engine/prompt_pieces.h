// Pages and recurrent states of one model as files of a PromptStore. A piece belongs to the tokens
// that end with it, to all tokens before them, and to what computed them: the model's content, its
// kernels and its layout in memory. All of that is in its name, so that the piece of another
// model, type of KV cache or version is never found.
//
//   tokens  i32 each: those of the page, or those behind the last full page of a state
//   made    u8 each: SequenceState::Path
//   state   of a state's piece
//   page    its keys and values; a state's piece has none where it has no tokens
//
// One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/blake2b.h"
#include "cache/prompt_store.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/engine/loaded_model.h"
#include "runtime/oracle/sequence_state.h"

namespace hetune {

// The parts of a piece, which lie in `bytes`.
struct PieceParts {
    std::vector<SequenceState::Path> made;  // [tokens]
    std::span<const std::byte> state, page;
};
// Empty where the bytes are no piece of these tokens and sizes.
std::optional<PieceParts> parse_piece(std::span<const std::byte> bytes,
                                      std::span<const int32_t> tokens, size_t state_bytes,
                                      size_t page_bytes);

class PromptPieces {
  public:
    // A chain hashes tokens and all before them. The hash resists an attacker, who can choose
    // tokens.
    using Chain = Blake2bHash;
    static Chain chain(const Chain& before, std::span<const int32_t> tokens);

    // A page or a state at the end of `tokens`, which follow those of `before`.
    struct Place {
        Chain before;
        std::span<const int32_t> tokens;
        bool is_state = false;
        bool exact = false;  // prompt kernels made all tokens from the first one on
    };

    // The store outlives this. `layout`: whatever makes the same tokens other bytes.
    PromptPieces(PromptStore& store, std::string_view layout, size_t state_bytes,
                 size_t page_bytes);

    const Chain& start() const { return start_; }  // of no token
    PromptStore& store() { return store_; }
    static CacheKey name(const Place& place);
    bool has(const Place& place) const { return store_.has(name(place)); }
    // Whether there is a state at fewer than a page of tokens behind `before`.
    bool has_states(const Chain& before) const;

    // Notes the use.
    struct Found {
        PromptStore::Piece file;
        PieceParts parts;
    };
    std::optional<Found> find(const Place& place, PromptStore::Time used);
    void put(const Place& place, std::span<const SequenceState::Path> made,
             std::span<const std::byte> state, std::span<const std::byte> page,
             PromptStore::Time used);

    // Of the pieces of one use the deeper ones go first, so that no page is left without the pages
    // above it: `depth` pages stand above the piece.
    static PromptStore::Time at_depth(PromptStore::Time used, int64_t depth) {
        return used - std::chrono::microseconds(depth);
    }

  private:
    PromptStore& store_;
    const size_t state_bytes_, page_bytes_;
    Chain start_;
};

// The identity of a model's computation: its content, and the kernels of prompts and of one decoded
// token (those of several decoded tokens round alike).
std::string maker_of_prompts(const LoadedModel& model, const CacheKey& identity,
                             const KernelLibrary& library);

}  // namespace hetune
