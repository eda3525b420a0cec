// h = W x + residual, and where kNormed also the next layer's input: h * norm weight, without the
// norm's factor, and the squares that the factor follows from (norm_factor).
// Launch: [kRows / 32, ceil(rows / kTokens)]. LDS as gemv.
#include "elementwise/step_state.h"
#include "linear/fused.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kRows = 4096;
constexpr int kCols = 4096;
constexpr int kTokens = 1;
constexpr bool kMatrix = false;
constexpr bool kQuantisedInput = true;
constexpr bool kTiledInput = false;
constexpr bool kNormed = true;
constexpr bool kQuantisedOutput = true;
constexpr int kWaves = 4;
#endif

static_assert(kRows % kTileRows == 0, "a tile of rows is one block of the output");

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void gemv_residual(
    const StepState* INPUT step,
    const u8* __restrict__ w,       // [kRows / 32, kCols / tile, tile bytes]
    const void* INPUT x,            // [rows, kCols / 32] XBlock, XTile or [rows, kCols] float
    const float* residual,          // [rows, kRows]
    const float* INPUT norm,        // [kRows] where kNormed
    float* h,                       // [rows, kRows]; may be residual
    void* __restrict__ next,        // [rows, kRows / 32] XBlock or [rows, kRows] float
    float* __restrict__ squares) {  // [rows, kRows / 32] where kNormed
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
    sum_waves(acc, part, [&](int t, RowValues v) {
        if (first + t >= rows) return;
        RowValues square;
        UNROLL
        for (int i = 0; i < kLaneRows; ++i) {
            const i64 at = i64(first + t) * kRows + group_id() * kTileRows + lane_row(i);
            v.v[i] += residual[at];
            h[at] = v.v[i];
            square.v[i] = v.v[i] * v.v[i];
        }
        if constexpr (kNormed) {
            const i64 block = i64(first + t) * (kRows / 32) + group_id();
            const float sum = sum_of_rows(square);
            if (lane_id() == 0) squares[block] = sum;
            UNROLL
            for (int i = 0; i < kLaneRows; ++i)
                v.v[i] *= norm[group_id() * kTileRows + lane_row(i)];
            store_block<kQuantisedOutput>(v, next, block);
        }
    });
}
EXPORT_KERNEL(gemv_residual)
FIRST_LANE_ONLY(kWaves == 1 && !kMatrix)
