// h = the token's row of the embedding table, which is stored in tiles like any matrix (and is the
// output matrix too where the two are tied). Launch: [rows]; a lane expands 32 values at a time.
#include "elementwise/step_state.h"
#include "linear/row_tile.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kRows = 151936;
constexpr int kCols = 4096;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void embed(
    const StepState* __restrict__ step,
    const u8* __restrict__ w,        // [kRows / 32, kCols / tile, tile bytes]
    const i32* __restrict__ tokens,  // [rows], each in 0 .. kRows - 1
    float* __restrict__ h) {         // [rows, kCols]
    constexpr int kSteps = Quant::kTileElems / kStepElems;
    if (group_id() >= step->rows) return;
    const int token = imin(imax(tokens[group_id()], 0), kRows - 1);
    const u8* row = w + i64(token / kTileRows) * (kCols / Quant::kTileElems) * Quant::kTileBytes;
    for (int k = thread_id(); k < kCols / kStepElems; k += kWaves * kWaveSize) {
        const u8* tile = row + i64(k / kSteps) * Quant::kTileBytes;
        float values[32];
        load_floats<Quant>(tile, token % kTileRows, k % kSteps, values);
        float* to = h + i64(group_id()) * kCols + k * 32;
        UNROLL
        for (int i = 0; i < 32; ++i) to[i] = values[i];
    }
}
EXPORT_KERNEL(embed)
