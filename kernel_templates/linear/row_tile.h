// The product at the heart of every linear kernel: 32 rows of W, one a lane, by kTokens columns.
//
// A lane owns a row, so nothing crosses lanes until the end; activations are the same for all
// lanes of a wave and come through scalar loads on RDNA (dot4 takes an SGPR operand); weights come
// in 16 bytes a lane, 512 a wave. The waves of a group share K and add up through LDS.
// Tokens of one group are read from the same weights: 1 in decode, more in prefill and in batches,
// each in the order of additions of a single one, so that results do not depend on the batch.
#pragma once

#include "quant/tile.h"

// Weights of one step as floats, for float activations.
template <class Quant>
DEVICE inline void expand(const Quants& in, float (&w)[32]) {
    UNROLL for (int k = 0; k < 32; ++k) {
        constexpr int kHalf = Quant::kScaleElems == 16 ? 1 : 0;
        const float q = float(i8(in.q[k / 4] >> (8 * (k % 4)) & 0xff));
        const int group = k / 16 * kHalf;
        w[k] = in.scale[group] * q;
        if constexpr (Quant::kHasOffset) w[k] += in.offset[group];
    }
}

// One step of row `lane` as floats, whatever the format.
template <class Quant>
DEVICE inline void load_floats(const u8* tile, int lane, int step, float (&w)[32]) {
    if constexpr (Quant::kInteger) {
        Quants quants;
        Quant::load(tile, Quant::load_head(tile, lane), lane, step, quants);
        expand<Quant>(quants, w);
    } else {
        Quant::load_float(tile, lane, step, w);
    }
}

template <class Quant>
DEVICE inline float dot_step(const Quants& w, const XBlock& x) {
    int low = 0, high = 0;
    UNROLL for (int j = 0; j < 4; ++j) {
        low = dot4(w.q[j], x.q[j], low);
        high = dot4(w.q[4 + j], x.q[4 + j], high);
    }
    if constexpr (Quant::kScaleElems == 32) {
        const float product = w.scale[0] * x.scale * float(low + high);
        if constexpr (Quant::kHasOffset) return fused_mul_add(w.offset[0], x.sum, product);
        return product;
    } else {
        const float product =
            x.scale * fused_mul_add(w.scale[0], float(low), w.scale[1] * float(high));
        if constexpr (Quant::kHasOffset)
            return fused_mul_add(w.offset[0], x.sum_low,
                                 fused_mul_add(w.offset[1], x.sum_high, product));
        return product;
    }
}

// Four partial sums: shorter chains for the scheduler, and for the CPU a vector.
DEVICE inline float dot_step(const float (&w)[32], const float* x) {
    float part[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    UNROLL for (int k = 0; k < 32; ++k) part[k % 4] = fused_mul_add(w[k], x[k], part[k % 4]);
    return (part[0] + part[1]) + (part[2] + part[3]);
}

// Activations of kCols columns: XBlock [rows, kCols/32] or float [rows, kCols].
template <bool kBlocks>
struct Activations {
    static constexpr bool kQuantised = kBlocks;
    const void* data;
    int first;  // row of token 0
    int last;   // rows beyond it are read as this one; their results are not stored

    DEVICE i64 row(int token) const { return imin(first + token, last); }
};
// Rows that do not follow one another.
template <bool kBlocks, int kTokens>
struct GatheredActivations {
    static constexpr bool kQuantised = kBlocks;
    const void* data;
    int rows[kTokens];

    DEVICE i64 row(int token) const { return rows[token]; }
};

// acc[t] = this wave's share of row `lane` of row tile `row_tile` times token t.
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_dot(const u8* w, int row_tile, const Input& x, float (&acc)[kTokens]) {
    constexpr bool kQuantised = Input::kQuantised;
    constexpr int kTiles = kCols / Quant::kTileElems;
    constexpr int kSteps = Quant::kTileElems / kStepElems;
    static_assert(kCols % Quant::kTileElems == 0, "a row is a whole number of tiles");
    static_assert(Quant::kInteger || !kQuantised, "8-bit activations need integer weights");

    UNROLL for (int t = 0; t < kTokens; ++t) acc[t] = 0.0f;
    const int lane = lane_id();
    const u8* row = w + i64(row_tile) * kTiles * Quant::kTileBytes;
    // A loop that the compiler cannot unroll: several tiles at once spill.
    const int tiles = kTokens > 1 ? pinned(kTiles) : kTiles;
    for (int tile = kWaves == 1 ? 0 : wave_id(); tile < tiles; tile += kWaves) {
        const u8* at = row + i64(tile) * Quant::kTileBytes;
        auto with_step = [&](int step, auto&& weights) {
            UNROLL for (int t = 0; t < kTokens; ++t) {
                // A token's activations take 12 scalar registers: several at once would spill.
                const int k = kTokens > 1 ? pinned(tile * kSteps + step) : tile * kSteps + step;
                const i64 token = x.row(t);
                if constexpr (kQuantised) {
                    const auto* blocks = static_cast<const XBlock*>(x.data);
                    acc[t] += dot_step<Quant>(weights, blocks[token * (kCols / 32) + k]);
                } else {
                    acc[t] += dot_step(weights,
                                       static_cast<const float*>(x.data) + token * kCols + k * 32);
                }
            }
        };
        if constexpr (Quant::kInteger) {
            const auto head = Quant::load_head(at, lane);
            UNROLL for (int step = 0; step < kSteps; ++step) {
                Quants quants;
                Quant::load(at, head, lane, step, quants);
                if constexpr (kQuantised) {
                    with_step(step, quants);
                } else {
                    float weights[32];
                    expand<Quant>(quants, weights);
                    with_step(step, weights);
                }
            }
        } else {
            UNROLL for (int step = 0; step < kSteps; ++step) {
                float weights[32];
                Quant::load_float(at, lane, step, weights);
                with_step(step, weights);
            }
        }
    }
}

// Adds the waves' shares. Wave w finishes tokens w, w + kWaves, ...: for those, and in all its
// lanes, calls finish(token, sum).
template <int kTokens, int kWaves, class Finish>
DEVICE inline void sum_waves(const float (&acc)[kTokens], float (*part)[kTokens][kWaveSize],
                             Finish&& finish) {
    if constexpr (kWaves == 1) {
        UNROLL for (int t = 0; t < kTokens; ++t) finish(t, acc[t]);
    } else {
        UNROLL for (int t = 0; t < kTokens; ++t) part[wave_id()][t][lane_id()] = acc[t];
        barrier();
        for (int t = wave_id(); t < kTokens; t += kWaves) {
            float sum = 0.0f;
            UNROLL for (int w = 0; w < kWaves; ++w) sum += part[w][t][lane_id()];
            finish(t, sum);
        }
    }
}
