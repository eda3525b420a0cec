// y = x * s (+ bias), one s of the file for all. Launch: [ceil(kCols / (32 kWaves)), rows]. y may
// be x.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kCols = 2048;
constexpr bool kBias = false;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void scale(const StepState* __restrict__ step,
                                                const float* x,                  // [rows, kCols]
                                                const float* __restrict__ s,     // [1]
                                                const float* __restrict__ bias,  // [kCols]
                                                float* y) {                      // [rows, kCols]
    const int col = group_id() * kWaves * kWaveSize + thread_id();
    const int row = group_id_y();
    if (row >= step->rows || col >= kCols) return;
    const i64 at = i64(row) * kCols + col;
    const float scaled = x[at] * s[0];
    y[at] = kBias ? scaled + bias[col] : scaled;
}
EXPORT_KERNEL(scale)
