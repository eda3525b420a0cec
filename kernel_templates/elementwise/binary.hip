// y = Op(a, b), element by element.
// Launch: [ceil(kCols / (32 kWaves)), rows]. y may be a or b.
#include "elementwise/functors.h"
#include "elementwise/step_state.h"

#ifndef HETUNE_SPEC
using Op = Add;
constexpr int kCols = 4096;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void binary(const StepState* __restrict__ step,
                                                 const float* a,  // [rows, kCols]
                                                 const float* b,  // [rows, kCols]
                                                 float* y) {      // [rows, kCols]
    const int col = group_id() * kWaves * kWaveSize + thread_id();
    const int row = group_id_y();
    if (row >= step->rows || col >= kCols) return;
    const i64 at = i64(row) * kCols + col;
    y[at] = Op::apply(a[at], b[at]);
}
EXPORT_KERNEL(binary)
