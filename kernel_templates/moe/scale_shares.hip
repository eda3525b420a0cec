// The share of each chosen expert times the factor that the file has for the expert.
// Launch: [ceil(rows * kUsed / 32)].
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kUsed = 8;
#endif

extern "C" KERNEL(kWaveSize) void scale_shares(const StepState* __restrict__ step,
                                               const int* __restrict__ ids,       // [rows, kUsed]
                                               const float* __restrict__ shares,  // [rows, kUsed]
                                               const float* __restrict__ s,       // [experts]
                                               float* __restrict__ y) {           // [rows, kUsed]
    const int slot = group_id() * kWaveSize + lane_id();
    if (slot >= step->rows * kUsed) return;
    y[slot] = shares[slot] * s[ids[slot]];
}
EXPORT_KERNEL(scale_shares)
