#include "runtime/load/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <stdexcept>

#include "planner/file/errors.h"
#include "planner/plan/device_sizes.h"

namespace hetune {
namespace {

namespace device {
#include "kernel_templates/sampling/loop_state.h"
#include "kernel_templates/sampling/sampler_state.h"
}  // namespace device

static_assert(sizeof(device::SamplerState) == kSamplerBytes);
static_assert(device::kTokenRing * sizeof(int32_t) == kTokenRingBytes);
static_assert(sizeof(device::LoopState) == kLoopBytes);
static_assert(device::kNoToken == kNothingDrawn);

void check(const char* member, double value, double low, double high) {
    if (!(value >= low && value <= high))
        throw OptionError(
            fmt::format("Sampling::{} is {}; it must be {} to {}", member, value, low, high));
}

}  // namespace

void check_sampling(const Sampling& s) {
    check("temperature", s.temperature, 0, 100);
    check("top_k", s.top_k, 0, 1 << 30);
    check("top_p", s.top_p, 1e-6, 1);
    check("min_p", s.min_p, 0, 1);
    check("repeat_penalty", s.repeat_penalty, 0.01, 100);
    check("repeat_window", s.repeat_window, 0, device::kHistory);
}

int most_ends() { return device::kEnds; }

std::vector<std::byte> sampler_state(const Sampling& s, std::span<const int32_t> history,
                                     const DrawLimit& limit) {
    device::SamplerState state{};
    state.temperature = static_cast<float>(s.temperature);
    state.top_p = static_cast<float>(s.top_p);
    state.min_p = static_cast<float>(s.min_p);
    state.repeat_penalty = static_cast<float>(s.repeat_penalty);
    state.top_k = s.top_k;
    state.window = s.repeat_window;
    state.vocabulary = limit.vocabulary > 0 ? limit.vocabulary : INT32_MAX;
    state.seed = s.seed;
    for (size_t i =
             history.size() - std::min(history.size(), static_cast<size_t>(device::kHistory));
         i < history.size(); ++i)
        state.history[i % device::kHistory] = history[i];
    state.count = static_cast<int32_t>(first_draw(history.size()));
    state.left = static_cast<int32_t>(std::min<int64_t>(limit.draws, 1 << 30));
    assert(limit.ends.size() <= device::kEnds);
    std::ranges::copy(limit.ends, state.ends);
    state.end_count = static_cast<int32_t>(limit.ends.size());
    std::vector<std::byte> bytes(sizeof state);
    std::memcpy(bytes.data(), &state, sizeof state);
    return bytes;
}

uint32_t first_draw(size_t history) { return static_cast<uint32_t>(history); }

int64_t sampler_count_offset() { return offsetof(device::SamplerState, count); }
int token_ring_size() { return device::kTokenRing; }

size_t loop_rounds_offset() { return offsetof(device::LoopState, rounds); }

std::vector<std::byte> loop_state(int32_t rounds) {
    const device::LoopState state{.handle = 0, .rounds = rounds, .done = 0};
    std::vector<std::byte> bytes(sizeof state);
    std::memcpy(bytes.data(), &state, sizeof state);
    return bytes;
}

}  // namespace hetune
