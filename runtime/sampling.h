// How the next token is chosen. The order of the cuts: repetition penalty, top-k, top-p, min-p,
// temperature.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hetune {

struct Sampling {
    double temperature = 0.0;     // 0: greedy
    int top_k = 40;               // 0: all
    double top_p = 0.95;          // 1: all
    double min_p = 0.05;          // 0: all
    double repeat_penalty = 1.0;  // 1: none
    int repeat_window = 64;       // tokens
    uint32_t seed = 0;

    bool operator==(const Sampling&) const = default;
};

// Throws std::runtime_error naming the option that is out of range.
void check_sampling(const Sampling& sampling);

// The device's SamplerState (kernel_templates/sampling/sampler_state.h) before the first draw;
// `history` are the tokens so far.
std::vector<std::byte> sampler_state(const Sampling& sampling, std::span<const int32_t> history);
int64_t sampler_count_offset();               // of `count` in it
int64_t sampler_history_offset(int32_t index);  // of history entry number `index`

}  // namespace hetune
