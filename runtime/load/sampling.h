// The host's side of the sampler on the device (kernel_templates/sampling).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/load/sampling_options.h"

namespace hetune {

// Throws OptionError naming the member of Sampling that is out of range.
void check_sampling(const Sampling& sampling);

// Which tokens may be drawn, and when drawing stops by itself.
struct DrawLimit {
    int64_t draws = 1 << 30;
    // Tokens behind which nothing is drawn; at most most_ends().
    std::span<const int32_t> ends = {};
    // Only tokens below this id are drawn; 0: all. The rows of a model's output behind its
    // vocabulary are padding.
    int32_t vocabulary = 0;
};
int most_ends();

// In the ring instead of a token, where a logit is NaN or infinite.
constexpr int32_t kNothingDrawn = -1;

// The device's SamplerState (kernel_templates/sampling/sampler_state.h) before the first draw;
// `history` are the tokens so far.
std::vector<std::byte> sampler_state(const Sampling& sampling, std::span<const int32_t> history,
                                     const DrawLimit& limit = {});
int64_t sampler_count_offset();  // of `count` in it
// The number of the first draw behind so many tokens: a draw depends on seed and position.
uint32_t first_draw(size_t history);
int token_ring_size();

// The device's LoopState (kernel_templates/sampling/loop_state.h) of a loop that takes so many
// rounds, without its handle.
std::vector<std::byte> loop_state(int32_t rounds);
size_t loop_rounds_offset();  // of `rounds` in it

}  // namespace hetune
