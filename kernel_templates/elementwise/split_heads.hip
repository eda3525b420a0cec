// Each head of x is [a | b]; takes them apart. Launch: [ceil(kHeads kHeadSize / (32 kWaves)),
// rows].
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kHeads = 16;
constexpr int kHeadSize = 256;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void split_heads(
    const StepState* __restrict__ step,
    const float* __restrict__ x,  // [rows, kHeads, 2, kHeadSize]
    float* __restrict__ a,        // [rows, kHeads, kHeadSize]
    float* __restrict__ b) {      // [rows, kHeads, kHeadSize]
    const int at = group_id() * kWaves * kWaveSize + thread_id();
    const int row = group_id_y();
    if (row >= step->rows || at >= kHeads * kHeadSize) return;
    const i64 head = i64(row) * kHeads + at / kHeadSize;
    const int d = at % kHeadSize;
    a[head * kHeadSize + d] = x[2 * head * kHeadSize + d];
    b[head * kHeadSize + d] = x[(2 * head + 1) * kHeadSize + d];
}
EXPORT_KERNEL(split_heads)
