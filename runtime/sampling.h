// The host's side of the sampler (kernel_templates/sampling).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/hetune.h"

namespace hetune {

// Throws std::runtime_error naming the option that is out of range.
void check_sampling(const Sampling& sampling);

// When the device stops drawing by itself.
struct DrawLimit {
    int64_t draws = 1 << 30;
    std::span<const int32_t> ends =
        {};  // tokens behind which nothing is drawn; at most most_ends()
};
int most_ends();

// The device's SamplerState (kernel_templates/sampling/sampler_state.h) before the first draw;
// `history` are the tokens so far.
std::vector<std::byte> sampler_state(const Sampling& sampling, std::span<const int32_t> history,
                                     const DrawLimit& limit = {});
int64_t sampler_count_offset();  // of `count` in it
int token_ring_size();

// The device's LoopState (kernel_templates/sampling/loop_state.h) of a loop that takes so many
// rounds, without its handle.
std::vector<std::byte> loop_state(int32_t rounds);
size_t loop_rounds_offset();  // of `rounds` in it

}  // namespace hetune
