// y = sum of share_k * x_k over the slots of a token, in their order.
// Launch: [ceil(kCols / (32 kWaves)), rows].
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kUsed = 8;
constexpr int kCols = 2048;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void experts_sum(
    const StepState* __restrict__ step,
    const float* __restrict__ shares,  // [rows, kUsed]
    const float* __restrict__ x,       // [rows, kUsed, kCols]
    float* __restrict__ y) {           // [rows, kCols]
    const int col = group_id() * kWaves * kWaveSize + thread_id();
    const int row = group_id_y();
    if (row >= step->rows || col >= kCols) return;
    float sum = 0.0f;
    UNROLL
    for (int k = 0; k < kUsed; ++k)
        sum = fused_mul_add(shares[row * kUsed + k], x[(i64(row) * kUsed + k) * kCols + col], sum);
    y[i64(row) * kCols + col] = sum;
}
EXPORT_KERNEL(experts_sum)
