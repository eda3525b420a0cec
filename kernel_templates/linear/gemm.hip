// y = W x (+ bias) (+ residual) for many rows, on the matrix units.
// Launch: [ceil(kRows / kTileN), ceil(rows / kTileM)]. LDS: two slabs of both factors.
#include "elementwise/step_state.h"
#include "linear/gemm_tile.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kRows = 4096;
constexpr int kCols = 4096;
constexpr bool kBias = false;
constexpr bool kResidual = false;
constexpr int kTileM = 64;
constexpr int kTileN = 128;
constexpr int kWaves = 4;
#endif

// Rows of one tile make a loop of one round: straight line code, which takes more registers.
constexpr int kResident = kTileM >= 64 || kCols == Quant::kTileElems ? 2 : 3;

// W and x are not __restrict__: LLVM takes such memory for constant, and puts the loads of the next
// slab off until they are needed.
extern "C" KERNEL_RESIDENT(kWaves* kWaveSize, kResident) void gemm(
    const StepState* __restrict__ step,
    const u8* w,                     // [kRows / 32, kCols / tile, tile bytes]
    const u8* x,                     // [rows][kHalfRowBytes<kCols>]
    const float* __restrict__ bias,  // [kRows] where kBias
    const float* residual,           // [rows, kRows] where kResidual
    float* y) {                      // [rows, kRows]; may be residual
    using Shape = GemmShape<kCols, kTileM, kTileN, kWaves>;
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
    WeightTiles<Shape, Quant> weights({w}, group_id() * Shape::kRowTiles, (kRows - 1) / kTileRows);
    gemm_tile(sums, x, row_of, reinterpret_cast<u16*>(x_lds), weights,
              reinterpret_cast<u16*>(w_lds));
    gemm_finish(sums, [&](int m, int n, float sum) {
        const int row = first + m, col = group_id() * kTileN + n;
        const float scale = settled(scales[m]);
        if (row >= rows || (kRows % kTileN != 0 && col >= kRows)) return;
        const i64 at = i64(row) * kRows + col;
        float v = sum * scale;
        if constexpr (kBias) v += bias[col];
        if constexpr (kResidual) v += residual[at];
        y[at] = v;
    });
}
EXPORT_KERNEL(gemm)
