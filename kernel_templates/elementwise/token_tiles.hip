// token_tiles puts the 8-bit activations of 8 rows side by side, for the integer matrix units
// (row_tile_matrix.h). Without this kernel a wave's load of 8 tokens touches 8 lines for 128 bytes,
// and the L1 cache of an H200 has no time for anything else (docs/benchmarks.md, "Many sequences").
//
// Launch: [ceil(kCols / (32 kWaves)), ceil(rows / 8)]. A wave makes one tile. The last row repeats
// where fewer than 8 are left.
#include "elementwise/step_state.h"
#include "quant/tile.h"

#ifndef HETUNE_SPEC
constexpr int kCols = 4096;
constexpr int kWaves = 4;
#endif

static_assert(kCols % 32 == 0, "an activation row is a whole number of blocks");

extern "C" KERNEL(kWaves* kWaveSize) void token_tiles(
    const StepState* INPUT step,
    const XBlock* INPUT x,    // [rows, kCols / 32]
    XTile* __restrict__ y) {  // [ceil(rows / 8), kCols / 32]
    start_next();
    await_inputs();
    constexpr int kBlocks = kCols / 32, kHead = 4, kWords = kHead + 8;
    const int block = group_id() * kWaves + wave_id(), first = group_id_y() * kXTileRows;
    const int rows = step->rows;
    if (first >= rows || block >= kBlocks) return;
    XTile& tile = y[i64(group_id_y()) * kBlocks + block];
    UNROLL
    for (int i = 0; i < kXTileRows * kWords / kWaveSize; ++i) {
        const int at = i * kWaveSize + lane_id(), token = at / kWords, word = at % kWords;
        const i64 row = imin(first + token, rows - 1);
        const u32 value = reinterpret_cast<const u32*>(x + row * kBlocks + block)[word];
        if (word >= kHead)
            tile.q[token][xtile_place(word - kHead)] = value;
        else
            (word < 2 ? tile.scales : tile.halves)[token][word % 2] = float_of(value);
    }
}
EXPORT_KERNEL(token_tiles)
