// The end of a token's experts: their sum, the residual, and the next layer's input.
#pragma once

#include "linear/fused.h"

// h = sum of share_k * product_k over the token's experts and the shared one, in that order, +
// residual, of 32 rows. `product_of(k)` is this lane's. Where kNormed, `next` and `squares` as
// gemv_residual makes them.
template <int kUsed, bool kShared, bool kSharedGate, int kRows, bool kNormed, bool kQuantisedOutput,
          class ProductOf>
DEVICE inline void finish_experts(const ProductOf& product_of, int token, int tile,
                                  const float* shares, const float* residual, const float* norm,
                                  float* h, void* next, float* squares) {
    const float* const own_shares = shares + token * (kUsed + 1);
    float sum = 0.0f;
    UNROLL
    for (int k = 0; k < kUsed; ++k) sum = fused_mul_add(own_shares[k], product_of(k), sum);
    if constexpr (kShared) {
        const float own = product_of(kUsed);
        sum += kSharedGate ? own_shares[kUsed] * own : own;
    }
    const int row = tile * kTileRows + lane_id();
    const float v = sum + residual[i64(token) * kRows + row];
    h[i64(token) * kRows + row] = v;
    if constexpr (kNormed) {
        const float square = wave_sum(v * v);
        const i64 block = i64(token) * (kRows / 32) + tile;
        if (lane_id() == 0) squares[block] = square;
        store_block<kQuantisedOutput>(v * norm[row], next, block);
    }
}
