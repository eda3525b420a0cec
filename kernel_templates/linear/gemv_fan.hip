// Up to four products with the same input in one launch: y_i = W_i x (+ bias_i).
// Launch: [sum of ceil(kRows_i / 32), ceil(rows / kTokens)]. LDS as gemv.
#include "elementwise/step_state.h"
#include "linear/fused.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant0 = Q4_K;
using Quant1 = Q4_K;
using Quant2 = Q4_K;
using Quant3 = Q4_K;
constexpr int kRows0 = 4096;
constexpr int kRows1 = 1024;
constexpr int kRows2 = 1024;
constexpr int kRows3 = 0;
constexpr int kCols = 4096;
constexpr int kTokens = 1;
constexpr bool kMatrix = false;
constexpr bool kQuantisedInput = true;
constexpr bool kTiledInput = false;
constexpr bool kBias = false;
constexpr bool kNormed = true;
constexpr float kEps = 1e-6f;
constexpr int kWaves = 4;
#endif

constexpr int tiles_of(int rows) { return (rows + kTileRows - 1) / kTileRows; }

template <class Quant>
DEVICE inline void product(const u8* w, const float* bias, float* y, int rows_of_w, int tile,
                           Activations<kQuantisedInput, kTiledInput> x, const float* squares,
                           SumMemory<kTokens, kWaves, kMatrix>& part) {
    RowSums<kTokens, kMatrix> acc;
    row_tile_product<Quant, kCols>(w, tile, x, part, acc);
    sum_waves(acc, part, [&](int t, RowValues values) {
        if (x.first + t > x.last) return;
        if constexpr (kNormed) {
            const float factor =
                norm_factor<kCols>(squares + i64(x.first + t) * (kCols / 32), kEps);
            UNROLL
            for (int i = 0; i < kLaneRows; ++i) values.v[i] *= factor;
        }
        UNROLL
        for (int i = 0; i < kLaneRows; ++i) {
            const int row = tile * kTileRows + lane_row(i);
            if (row >= rows_of_w) continue;
            float sum = values.v[i];
            if constexpr (kBias) sum += bias[row];
            y[i64(x.first + t) * rows_of_w + row] = sum;
        }
    });
}

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void gemv_fan(
    const StepState* INPUT step,
    const void* INPUT x,         // [rows, kCols / 32] XBlock, XTile or [rows, kCols] float
    const float* INPUT squares,  // [rows, kCols / 32] where kNormed
    const u8* __restrict__ w0, const u8* __restrict__ w1, const u8* __restrict__ w2,
    const u8* __restrict__ w3,  // [kRows_i / 32, kCols / tile, tile bytes]
    const float* INPUT bias0, const float* INPUT bias1, const float* INPUT bias2,
    const float* INPUT bias3,  // [kRows_i] where kBias
    float* __restrict__ y0, float* __restrict__ y1, float* __restrict__ y2,
    float* __restrict__ y3) {  // [rows, kRows_i]
    start_next();
    constexpr int kEnd0 = tiles_of(kRows0);
    constexpr int kEnd1 = kEnd0 + tiles_of(kRows1);
    constexpr int kEnd2 = kEnd1 + tiles_of(kRows2);
    const int tile = group_id();
    if (tile < kEnd0)
        prefetch_row_tile<Quant0, kCols, kWaves>(w0, tile);
    else if (tile < kEnd1)
        prefetch_row_tile<Quant1, kCols, kWaves>(w1, tile - kEnd0);
    else if (tile < kEnd2)
        prefetch_row_tile<Quant2, kCols, kWaves>(w2, tile - kEnd1);
    else
        prefetch_row_tile<Quant3, kCols, kWaves>(w3, tile - kEnd2);
    await_inputs();
    SHARED SumMemory<kTokens, kWaves, kMatrix> part;
    const int rows = step->rows;
    const int first = group_id_y() * kTokens;
    if (first >= rows) return;
    const Activations<kQuantisedInput, kTiledInput> input{x, first, rows - 1};

    if constexpr (kSame<Quant0, Quant1> && kSame<Quant0, Quant2> && kSame<Quant0, Quant3>) {
        // One body, with the matrix in scalar registers.
        const u8* w = tile < kEnd0 ? w0 : tile < kEnd1 ? w1 : tile < kEnd2 ? w2 : w3;
        const float* bias = tile < kEnd0   ? bias0
                            : tile < kEnd1 ? bias1
                            : tile < kEnd2 ? bias2
                                           : bias3;
        float* y = tile < kEnd0 ? y0 : tile < kEnd1 ? y1 : tile < kEnd2 ? y2 : y3;
        const int height = tile < kEnd0   ? kRows0
                           : tile < kEnd1 ? kRows1
                           : tile < kEnd2 ? kRows2
                                          : kRows3;
        const int start = tile < kEnd0 ? 0 : tile < kEnd1 ? kEnd0 : tile < kEnd2 ? kEnd1 : kEnd2;
        product<Quant0>(w, bias, y, height, tile - start, input, squares, part);
    } else if (tile < kEnd0) {
        product<Quant0>(w0, bias0, y0, kRows0, tile, input, squares, part);
    } else if (tile < kEnd1) {
        product<Quant1>(w1, bias1, y1, kRows1, tile - kEnd0, input, squares, part);
    } else if (tile < kEnd2) {
        product<Quant2>(w2, bias2, y2, kRows2, tile - kEnd1, input, squares, part);
    } else {
        product<Quant3>(w3, bias3, y3, kRows3, tile - kEnd2, input, squares, part);
    }
}
EXPORT_KERNEL(gemv_fan)
FIRST_LANE_ONLY(kWaves == 1 && !kMatrix)
