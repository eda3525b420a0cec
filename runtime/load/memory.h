// Every byte that a model and its context will take, known from its plans before anything is
// allocated.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "planner/file/errors.h"
#include "planner/plan/plan.h"

namespace hetune {

struct MemoryNeeds {
    int64_t weights = 0;
    int64_t kv_per_token = 0;
    int64_t state = 0;        // of all sequences
    int64_t snapshots = 0;    // of the states
    int64_t checkpoints = 0;  // copies of one sequence's state, for prefixes
    int64_t scratch = 0;      // activations, logits, inputs
    int64_t code = 0;
    int64_t context = 0;
    int64_t sequences = 1;  // that each may have a context

    int64_t kv_pages() const;  // of all sequences
    int64_t kv() const;        // the bytes of these
    int64_t total() const {
        return weights + kv() + state + snapshots + checkpoints + scratch + code;
    }
    bool operator==(const MemoryNeeds&) const = default;
};

// Of plans that run in one session: weights, KV and state are shared, and the largest scratch.
struct ContextNeeds {
    int64_t context = 0;  // tokens of a sequence
    int sequences = 1;
    int snapshots = 0;    // copies of each sequence's recurrent state
    int checkpoints = 0;  // copies of it that all sequences share
};
MemoryNeeds memory_needs(std::span<const Plan> plans, const ContextNeeds& contexts,
                         int64_t code_bytes);

// The largest context that fits into `limit` bytes; 0: none does.
int64_t largest_context(const MemoryNeeds& needs, int64_t limit);

// How many sequences of the same context surely fit into `limit` bytes: checkpoints and activations
// are counted as for those of `needs`, of which there are not more; 0: not one.
int64_t largest_parallel(const MemoryNeeds& needs, int64_t limit);

// One row for each kind of memory, and the sum.
std::string memory_table(const MemoryNeeds& needs);

// Throws MemoryError when the needs are above `limit`, with the table, and with the largest context
// and number of sequences that fit.
void check_memory(const MemoryNeeds& needs, int64_t limit, const std::string& device);

}  // namespace hetune
