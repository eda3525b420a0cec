// y = x * sigmoid(s), one s for a row. Launch: [ceil(kCols / (32 kWaves)), rows]. y may be x.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kCols = 2048;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void scale_by_sigmoid(const StepState* __restrict__ step,
                                                           const float* x,  // [rows, kCols]
                                                           const float* __restrict__ s,  // [rows]
                                                           float* y) {  // [rows, kCols]
    const int col = group_id() * kWaves * kWaveSize + thread_id();
    const int row = group_id_y();
    if (row >= step->rows || col >= kCols) return;
    const i64 at = i64(row) * kCols + col;
    y[at] = x[at] * sigmoid(s[row]);
}
EXPORT_KERNEL(scale_by_sigmoid)
