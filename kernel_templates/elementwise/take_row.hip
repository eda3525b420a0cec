// y = the row of x whose output is wanted, and a StepState that counts it alone. Launch:
// [ceil(kCols / 32)].
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kCols = 4096;
#endif

extern "C" KERNEL(kWaveSize) void take_row(const StepState* __restrict__ step,
                                           const float* __restrict__ x,     // [rows, kCols]
                                           float* __restrict__ y,           // [1, kCols]
                                           StepState* __restrict__ last) {  // of one row
    const int row = step->wanted;
    const int col = group_id() * kWaveSize + thread_id();
    if (col == 0) {
        *last = {1, step->page_stride, step->state_stride, 0};
        const RowState own = rows_of(step)[row];
        *rows_of(last) = {own.position, own.slot, 0, 1};
    }
    if (col < kCols) y[col] = x[i64(row) * kCols + col];
}
EXPORT_KERNEL(take_row)
