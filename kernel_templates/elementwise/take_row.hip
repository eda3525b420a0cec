// y = the last row of x, and a StepState that counts it alone. Launch: [ceil(kCols / 32)].
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kCols = 4096;
#endif

extern "C" KERNEL(kWaveSize) void take_row(const StepState* __restrict__ step,
                                           const float* __restrict__ x,     // [rows, kCols]
                                           float* __restrict__ y,           // [1, kCols]
                                           StepState* __restrict__ last) {  // of one row
    const int rows = step->rows;
    const int col = group_id() * kWaveSize + thread_id();
    if (col == 0) {
        *last = {1, step->page_stride, step->state_stride, 0};
        *rows_of(last) = rows_of(step)[rows - 1];
    }
    if (col < kCols) y[col] = x[i64(rows - 1) * kCols + col];
}
EXPORT_KERNEL(take_row)
