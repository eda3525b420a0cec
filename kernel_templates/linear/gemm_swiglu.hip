// y = silu(Wg x) * (Wu x) for many rows, on the matrix units.
// Launch: [ceil(kRows / kTileN), ceil(rows / kTileM)]. LDS: two slabs of all three factors.
#include "elementwise/step_state.h"
#include "linear/gemm_tile.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kRows = 12288;
constexpr int kCols = 4096;
constexpr int kTileM = 64;
constexpr int kTileN = 64;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL_RESIDENT(kWaves* kWaveSize, kTileM >= 64 ? 2 : 3) void gemm_swiglu(
    const StepState* __restrict__ step,
    const u8* gate,           // [kRows / 32, kCols / tile, tile bytes]
    const u8* up,             // the same
    const u8* x,              // [rows][kHalfRowBytes<kCols>]
    float* __restrict__ y) {  // [rows, kRows]
    using Shape = GemmShape<kCols, kTileM, kTileN, kWaves, 2>;
    SHARED U4 x_lds[2 * Shape::kXHalves / 8];
    SHARED U4 w_lds[2 * Shape::kWHalves / 8];
    SHARED float scales[kTileM];
    const int rows = step->rows;
    const int first = group_id_y() * kTileM;
    if (first >= rows) return;
    const auto row_of = [&](int m) { return imin(first + m, rows - 1); };
    for (int m = thread_id(); m < kTileM; m += Shape::kThreads)
        scales[m] = half_row_scale<kCols>(x + i64(row_of(m)) * kHalfRowBytes<kCols>);

    GemmSums<Shape> sums;
    WeightTiles<Shape, Quant> weights({gate, up}, group_id() * Shape::kRowTiles,
                                      (kRows - 1) / kTileRows);
    gemm_tile(sums, x, row_of, reinterpret_cast<u16*>(x_lds), weights,
              reinterpret_cast<u16*>(w_lds));
    gemm_finish(sums, [&](int m, int n, float g, float u) {
        const int row = first + m, col = group_id() * kTileN + n;
        const float scale = settled(scales[m]);
        if (row >= rows || (kRows % kTileN != 0 && col >= kRows)) return;
        y[i64(row) * kRows + col] = silu(g * scale) * (u * scale);
    });
}
EXPORT_KERNEL(gemm_swiglu)
