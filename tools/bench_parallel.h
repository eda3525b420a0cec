// `hetune bench --parallel`: many sequences at the same time, in the terms of llama.cpp's
// llama-batched-bench.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/api/model_host.h"
#include "tools/budget.h"

namespace hetune {

struct ParallelResult {
    int64_t prompt = 0, tokens = 0, sequences = 0;  // of each sequence: PP, TG; and B
    double prompt_seconds = 0;                      // until all prompts of B sequences are computed
    double first_seconds = 0;      // until the first token of a sequence, the median
    double tokens_per_second = 0;  // of all, while all of them generate
    std::string left_out;          // why nothing was measured
};

// For each number of sequences: all prompts, then tokens of all at the same time. The model has
// memory for as many. `after` is called with each result.
std::vector<ParallelResult> measure_parallel(
    ModelHost& model, const std::vector<int64_t>& counts, int64_t prompt, int64_t tokens,
    const Budget& budget, const std::function<void(const ParallelResult&)>& after);

// The table, and one JSON object a line.
std::string parallel_table(const std::vector<ParallelResult>& results);
std::string parallel_json(const std::vector<ParallelResult>& results);

}  // namespace hetune
