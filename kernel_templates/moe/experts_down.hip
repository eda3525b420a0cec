// y = sum of share_k * down_k x_k over the experts k that each token uses, added up in slot order.
// Launch: [kRows / 32, rows]; a group owns 32 rows of y, its waves take experts in turn.
// LDS: a float a lane for each slot.
#include "elementwise/step_state.h"
#include "linear/row_tile.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kUsed = 8;
constexpr int kRows = 2048;
constexpr int kCols = 512;
constexpr bool kQuantisedInput = true;
constexpr int kWaves = 8;
#endif

static_assert(kRows % kTileRows == 0, "an expert's matrix is a whole number of tiles");

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void experts_down(
    const StepState* __restrict__ step,
    const int* __restrict__ ids,       // [rows, kUsed]
    const float* __restrict__ shares,  // [rows, kUsed]
    const u8* __restrict__ w,          // [experts, kRows / 32, kCols / tile, tile bytes]
    const void* INPUT x,      // [rows, kUsed, kCols / 32] XBlock or [rows, kUsed, kCols] float
    float* __restrict__ y) {  // [rows, kRows]
    SHARED float part[kUsed][kWaveSize];
    const int row = group_id_y();
    if (row >= step->rows) return;
    const int first = row * kUsed;
    for (int k = kWaves == 1 ? 0 : wave_id(); k < kUsed; k += kWaves) {
        float dot[1];
        row_tile_dot<Quant, kCols, 1, 1>(w, ids[first + k] * (kRows / kTileRows) + group_id(),
                                         Activations<kQuantisedInput>{x, first + k, first + k},
                                         dot);
        part[k][lane_id()] = dot[0];
    }
    barrier();
    if (wave_id() != 0) return;
    float sum = 0.0f;
    UNROLL
    for (int k = 0; k < kUsed; ++k) sum = fused_mul_add(shares[first + k], part[k][lane_id()], sum);
    y[i64(row) * kRows + group_id() * kTileRows + lane_id()] = sum;
}
EXPORT_KERNEL(experts_down)
