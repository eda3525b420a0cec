// Per head: RMSNorm with weight (where kNorm), then rotary embedding (where kRotary > 0).
// Launch: [kHeads, rows]; a wave owns a head. LDS: one head. y may be x.
#include "attention/head_rope.h"
#include "elementwise/step_state.h"

#ifndef HETUNE_SPEC
constexpr int kHeads = 32;
constexpr int kHeadSize = 128;
constexpr int kStride = 4096;
constexpr bool kNorm = true;
constexpr float kEps = 1e-6f;
constexpr int kRotary = 128;
constexpr bool kInterleaved = false;
constexpr float kMagnitude = 1.0f;
#endif

extern "C" KERNEL(kWaveSize) void head_norm_rope(
    const StepState* __restrict__ step,
    const float* x,                   // [rows, kStride], heads from the first column on
    const float* __restrict__ w,      // [kHeadSize] where kNorm
    const float* __restrict__ turns,  // [kRotary / 2][2] where kRotary > 0
    float* y) {                       // [rows, kHeads * kHeadSize]
    SHARED float head[kHeadSize];
    const int row = group_id_y();
    if (row >= step->rows || is_idle_lane()) return;
    norm_rope<kHeadSize, kNorm, kRotary, kInterleaved>(
        x + i64(row) * kStride + group_id() * kHeadSize, w, kEps, turns, kMagnitude,
        float(rows_of(step)[row].position), head);
    float* to = y + (i64(row) * kHeads + group_id()) * kHeadSize;
    for (int i = lane_start(); i < kHeadSize; i += kLaneStride) to[i] = head[i];
}
EXPORT_KERNEL(head_norm_rope)
FIRST_LANE_ONLY(true)
