// Chooses each row's experts from the best groups of experts: a group of neighbours is as good as
// its two largest probabilities together, the lower group first on a tie. Launch: [rows].
#include "elementwise/step_state.h"
#include "moe/choose_experts.h"

#ifndef HETUNE_SPEC
constexpr int kExperts = 256;
constexpr int kUsed = 8;
constexpr int kGroups = 8;
constexpr int kGroupsUsed = 4;
#endif

static_assert(kGroups <= kWaveSize && kExperts % kGroups == 0 && kExperts / kGroups >= 2);

extern "C" KERNEL(kWaveSize) void router_groups(
    const StepState* __restrict__ step,
    const float* __restrict__ logits,  // [rows, kExperts]
    int* __restrict__ ids,             // [rows, kUsed]
    float* __restrict__ shares) {      // [rows, kUsed]
    constexpr int kOfGroup = kExperts / kGroups;
    constexpr float kOut = -3e38f;
    const int row = group_id();
    if (row >= step->rows) return;
    const float* const of_row = logits + i64(row) * kExperts;

    // A lane looks at one group.
    const int group = imin(lane_id(), kGroups - 1);
    float first = kOut, second = kOut;
    for (int i = 0; i < kOfGroup; ++i) {
        const float logit = of_row[group * kOfGroup + i];
        second = fmax2(second, first < logit ? first : logit);
        first = fmax2(first, logit);
    }
    const float peak = wave_max(first);
    float score = lane_id() < kGroups ? fast_exp(first - peak) + fast_exp(second - peak) : -1.0f;
    u32 chosen = 0;
    for (int i = 0; i < kGroupsUsed; ++i) {
        const float best = wave_max(score);
        const int winner = wave_min(score == best ? lane_id() : kGroups - 1);
        chosen |= u32(1) << winner;
        if (lane_id() == winner) score = -1.0f;
    }
    choose_experts<kExperts, kUsed, true>(
        [&](int expert) {
            return (chosen >> (expert / kOfGroup) & 1) != 0 ? of_row[expert] : kOut;
        },
        ids + row * kUsed, shares + row * kUsed);
}
EXPORT_KERNEL(router_groups)
