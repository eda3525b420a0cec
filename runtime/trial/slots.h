// Pages and recurrent states of a step's sequences as trials place them: in every second slot from
// the last down to slot 1, pages in no order, and everything between them poisoned.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/trial/samples.h"
#include "runtime/trial/trial.h"

namespace hetune {

// The slot of a sequence, of `sequences` in a step.
inline int trial_slot(size_t sequences, size_t sequence) {
    return 2 * static_cast<int>(sequences - sequence) - 1;
}

// Where the rows of a step stand.
struct StepPlaces {
    // In a step of a decode plan each row is of a sequence of its own: the first at `position`,
    // others at the ends of tiles and pages and at the start. Of three and more one has ended.
    // In a step of prompts rows are of one sequence from `position` on; where there are enough, of
    // that and of another one, which begins its text, with a filling row between the two.
    StepPlaces(const Trial& t, int64_t position);

    // A sequence's rows.
    struct Part {
        int64_t begin, end;  // rows
        int64_t position;    // of the first
        size_t sequence;
    };

    bool has_ended(size_t row) const { return positions[row] == kEndedRow; }
    bool fills(size_t row) const;
    // These places as the rows of a Trial.
    std::vector<TrialRow> rows() const;

    std::vector<int64_t> positions;  // of rows
    std::vector<size_t> sequence;    // of rows
    std::vector<int64_t> lengths;    // of sequences
    std::vector<Part> parts;         // of sequences
};

// Sequences in the pages of a KV cache. The first page belongs to none of them.
class CachePages {
  public:
    // Sequence i has `lengths[i]` positions. Puts the table of pages, and sets the step's rows.
    CachePages(Trial& t, const StepPlaces& places);

    int64_t stride() const { return stride_; }
    int slot(size_t sequence) const { return trial_slot(lengths_.size(), sequence); }
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
    // `of`: the state of each sequence, all of one size. Puts them.
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
