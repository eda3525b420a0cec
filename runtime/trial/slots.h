// Pages and recurrent states of a step's sequences as trials place them: in slots that are not the
// first, pages in no order, and everything between them poisoned.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/trial/samples.h"
#include "runtime/trial/trial.h"

namespace hetune {

// Sequences in the pages of a KV cache. The first page belongs to none of them.
class CachePages {
  public:
    // Sequence i has slot `i + 1` and `lengths[i]` positions. Puts the table of pages.
    CachePages(Trial& t, std::vector<int64_t> lengths);

    int64_t stride() const { return stride_; }
    int slot(size_t sequence) const { return static_cast<int>(sequence) + 1; }
    // The row of a cache that has a position.
    int64_t row(size_t sequence, int64_t position) const;
    int64_t rows() const;  // of a cache

    // Rows of each sequence, put where they belong; all other bytes are poison.
    std::vector<std::byte> place(const std::vector<std::vector<std::byte>>& of,
                                 int64_t row_bytes) const;
    // One sequence's rows out of a cache.
    std::vector<std::byte> gather(std::span<const std::byte> cache, size_t sequence,
                                  int64_t row_bytes) const;

  private:
    std::vector<int64_t> lengths_;
    int64_t stride_ = 0;
    std::vector<int32_t> table_;  // [slots][stride]
    int64_t pages_ = 1;
};

// A parameter that holds recurrent state of each slot.
class SlotStates {
  public:
    // `of`: the state of each sequence, all of one size; sequence i has slot `i + 1`. Puts them.
    SlotStates(Trial& t, std::string param, std::vector<std::vector<float>> of, int64_t stride);
    // Room for a state, for any parameter whose states are no larger than this.
    static int64_t stride_for(int64_t floats) { return floats + 64; }

    // Behind a launch: a sequence's state. Compares what lies between the states.
    std::span<const float> read(size_t sequence);

  private:
    Trial& trial_;
    std::string param_;
    std::vector<std::vector<float>> of_;
    int64_t stride_;
};

}  // namespace hetune
