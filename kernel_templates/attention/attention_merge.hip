// Adds up what attention_split left: y = sum of shares, weighted by their peaks, over their sums.
// Launch: [kHeads, rows]; a wave owns a head.
#include "attention/online_softmax.h"
#include "elementwise/step_state.h"

#ifndef HETUNE_SPEC
constexpr int kHeads = 32;
constexpr int kHeadSize = 128;
constexpr int kSplits = 8;
#endif

extern "C" KERNEL(kWaveSize) void attention_merge(
    const StepState* __restrict__ step,
    const float* __restrict__ shares,  // [rows, kHeads, kSplits, kHeadSize + 2]
    float* __restrict__ y) {           // [rows, kHeads, kHeadSize]
    constexpr int kShare = kHeadSize + 2;
    const int row = group_id_y();
    if (row >= step->rows) return;
    const i64 head = i64(row) * kHeads + group_id();
    const float* from = shares + head * kSplits * kShare;

    float peak = kNoScore;
    for (int s = 0; s < kSplits; ++s) peak = fmax2(peak, from[s * kShare + kHeadSize]);
    float weights = 0.0f;
    for (int s = 0; s < kSplits; ++s)
        weights += fast_exp(from[s * kShare + kHeadSize] - peak) * from[s * kShare + kHeadSize + 1];
    const float factor = fast_rcp(weights);
    // A lane that does all the work knows the weights from the first dimension on.
    [[maybe_unused]] float known[kSplits];
    if constexpr (kLanesInTurn) {
        if (is_idle_lane()) return;
        for (int s = 0; s < kSplits; ++s) known[s] = fast_exp(from[s * kShare + kHeadSize] - peak);
    }
    const auto weight_of = [&](int s) {
        if constexpr (kLanesInTurn)
            return known[s];
        else
            return fast_exp(from[s * kShare + kHeadSize] - peak);
    };
    for (int d = lane_start(); d < kHeadSize; d += kLaneStride) {
        float sum = 0.0f;
        for (int s = 0; s < kSplits; ++s) sum += weight_of(s) * from[s * kShare + d];
        y[head * kHeadSize + d] = sum * factor;
    }
}
EXPORT_KERNEL(attention_merge)
FIRST_LANE_ONLY(true)
