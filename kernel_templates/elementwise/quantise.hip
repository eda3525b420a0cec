// Float activations to 8 bits, one scale for 32 values.
// Launch: [ceil(kCols / (32 kWaves)), rows]; a wave makes one block.
#include "elementwise/step_state.h"
#include "elementwise/xblock.h"

#ifndef HETUNE_SPEC
constexpr int kCols = 4096;
constexpr int kWaves = 4;
#endif

static_assert(kCols % 32 == 0, "an activation row is a whole number of blocks");

extern "C" KERNEL(kWaves* kWaveSize) void quantise(const StepState* __restrict__ step,
                                                   const float* __restrict__ x,  // [rows, kCols]
                                                   XBlock* __restrict__ y) {     // [rows, kCols/32]
    const int block = group_id() * kWaves + wave_id();
    const int row = group_id_y();
    if (row >= step->rows || block >= kCols / 32 || is_idle_lane()) return;
    RowValues values;
    UNROLL
    for (int i = 0; i < kLaneRows; ++i)
        values.v[i] = x[i64(row) * kCols + block * 32 + lane_row(i)];
    quantise_rows(values, y + row * (kCols / 32) + block);
}
EXPORT_KERNEL(quantise)
FIRST_LANE_ONLY(kWaves == 1)
