// y = x / rms(x) * w. Launch: [rows]; a group owns a row. LDS: one float a wave.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kCols = 4096;
constexpr float kEps = 1e-6f;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void rmsnorm(const StepState* __restrict__ step,
                                                  const float* __restrict__ x,  // [rows, kCols]
                                                  const float* __restrict__ w,  // [kCols]
                                                  float* __restrict__ y) {      // [rows, kCols]
    SHARED float part[kWaves];
    const int row = group_id();
    if (row >= step->rows) return;
    const float* from = x + i64(row) * kCols;
    float* to = y + i64(row) * kCols;

    float squares = 0.0f;
    for (int c = thread_id(); c < kCols; c += kWaves * kWaveSize) squares += from[c] * from[c];
    const float factor = fast_rsqrt(group_sum<kWaves>(squares, part) * (1.0f / kCols) + kEps);
    for (int c = thread_id(); c < kCols; c += kWaves * kWaveSize) to[c] = from[c] * factor * w[c];
}
EXPORT_KERNEL(rmsnorm)
