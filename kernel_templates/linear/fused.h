// Pieces of the fused linear kernels: norms whose factor is applied by the consumer, and outputs in
// the form that the next kernel reads.
#pragma once

#include "elementwise/xblock.h"
#include "linear/row_tile_matrix.h"

template <class A, class B>
constexpr bool kSame = false;
template <class A>
constexpr bool kSame<A, A> = true;

// 1 / rms of a row whose squares are summed in blocks of 32 columns: the producer of a value knows
// only its own 32 rows, so it leaves the sums, and the consumer scales its result.
template <int kCols>
DEVICE inline float norm_factor(const float* squares, float eps) {
    RowValues sums;
    UNROLL
    for (int r = 0; r < kLaneRows; ++r) {
        sums.v[r] = 0.0f;
        for (int i = lane_row(r); i < kCols / 32; i += kWaveSize) sums.v[r] += squares[i];
    }
    return fast_rsqrt(sum_of_rows(sums) * (1.0f / kCols) + eps);
}

// The 32 lanes hold 32 consecutive values of a row: 8-bit block number `block`, or floats.
template <bool kQuantised>
DEVICE inline void store_block(float v, void* y, i64 block) {
    if constexpr (kQuantised)
        quantise_wave(v, static_cast<XBlock*>(y) + block);
    else
        static_cast<float*>(y)[block * 32 + lane_id()] = v;
}
template <bool kQuantised>
DEVICE inline void store_block(const RowValues& values, void* y, i64 block) {
    if constexpr (kQuantised) {
        quantise_rows(values, static_cast<XBlock*>(y) + block);
    } else {
        UNROLL
        for (int i = 0; i < kLaneRows; ++i)
            static_cast<float*>(y)[block * 32 + lane_row(i)] = values.v[i];
    }
}
