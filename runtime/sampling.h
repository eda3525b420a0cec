// The host's side of the sampler (kernel_templates/sampling).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/hetune.h"

namespace hetune {

// Throws std::runtime_error naming the option that is out of range.
void check_sampling(const Sampling& sampling);

// The device's SamplerState (kernel_templates/sampling/sampler_state.h) before the first draw;
// `history` are the tokens so far.
std::vector<std::byte> sampler_state(const Sampling& sampling, std::span<const int32_t> history);
int64_t sampler_count_offset();               // of `count` in it
int64_t sampler_history_offset(int32_t index);  // of history entry number `index`

}  // namespace hetune
