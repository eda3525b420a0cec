// Per head: y = x / rms(x) * w * silu(z). Launch: [kHeads, rows]; a wave owns a head. y may be x.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kHeads = 32;
constexpr int kHeadSize = 128;
constexpr float kEps = 1e-6f;
#endif

extern "C" KERNEL(kWaveSize) void gated_rmsnorm(
    const StepState* __restrict__ step,
    const float* x,               // [rows, kHeads, kHeadSize]
    const float* __restrict__ z,  // [rows, kHeads, kHeadSize]
    const float* __restrict__ w,  // [kHeadSize]
    float* y) {                   // [rows, kHeads, kHeadSize]
    const int row = group_id_y();
    if (row >= step->rows) return;
    const i64 head = (i64(row) * kHeads + group_id()) * kHeadSize;
    float squares = 0.0f;
    for (int i = lane_id(); i < kHeadSize; i += kWaveSize) squares += x[head + i] * x[head + i];
    const float factor = fast_rsqrt(wave_sum(squares) * (1.0f / kHeadSize) + kEps);
    for (int i = lane_id(); i < kHeadSize; i += kWaveSize)
        y[head + i] = x[head + i] * factor * w[i] * silu(z[head + i]);
}
EXPORT_KERNEL(gated_rmsnorm)
