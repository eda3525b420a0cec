// y = W x, for up to kTokens rows of activations at once (GEMV at 1, a slim GEMM beyond).
// Launch: [ceil(kRows / 32), ceil(rows / kTokens)]; a group owns 32 rows of W, its waves share K.
// LDS: kWaves * kTokens * 32 floats where kWaves > 1.
#include "elementwise/step_state.h"
#include "linear/row_tile_matrix.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kRows = 4096;
constexpr int kCols = 4096;
constexpr int kTokens = 1;
constexpr bool kMatrix = false;
constexpr bool kQuantisedInput = true;
constexpr bool kTiledInput = false;
constexpr bool kBias = false;
constexpr int kWaves = 4;
#endif

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void gemv(
    const StepState* INPUT step,
    const u8* __restrict__ w,  // [kRows / 32, kCols / tile, tile bytes]
    const void* INPUT x,       // [rows, kCols / 32] XBlock, XTile or [rows, kCols] float
    const float* INPUT bias,   // [kRows] where kBias
    float* __restrict__ y) {   // [rows, kRows]
    start_next();
    prefetch_row_tile<Quant, kCols, kWaves>(w, group_id());
    await_inputs();
    SHARED SumMemory<kTokens, kWaves, kMatrix> part;
    const int rows = step->rows;
    const int first = group_id_y() * kTokens;
    if (first >= rows) return;

    RowSums<kTokens, kMatrix> acc;
    row_tile_product<Quant, kCols>(
        w, group_id(), Activations<kQuantisedInput, kTiledInput>{x, first, rows - 1}, part, acc);
    sum_waves(acc, part, [&](int t, const RowValues& sums) {
        if (first + t >= rows) return;
        UNROLL
        for (int i = 0; i < kLaneRows; ++i) {
            const int row = group_id() * kTileRows + lane_row(i);
            if (row >= kRows) continue;
            y[i64(first + t) * kRows + row] = kBias ? sums.v[i] + bias[row] : sums.v[i];
        }
    });
}
EXPORT_KERNEL(gemv)
FIRST_LANE_ONLY(kWaves == 1 && !kMatrix)
