// row_tile_dot where the lanes of a wave run one after another (kLanesInTurn): one lane computes
// the rows of all 32, eight at a time, so that their sums lie in one vector. The products are exact
// integers, and each row's sum takes the same operations in the same order (add_step), so the bits
// are those of a lane that computes its own row.
#pragma once

#include "quant/tile.h"

template <class Quant>
struct EightRows {
    RowWords words;
    float scale[2][8], offset[2][8];

    DEVICE void load(const u8* tile, const typename Quant::Head (&heads)[8], int first, int step) {
        u32 q[8][8];
        UNROLL
        for (int r = 0; r < 8; ++r) {
            Quants quants;
            Quant::load(tile, heads[r], first + r, step, quants);
            UNROLL
            for (int j = 0; j < 8; ++j) q[r][j] = quants.q[j];
            constexpr int kScales = Quant::kScaleElems == 16 ? 2 : 1;
            UNROLL
            for (int s = 0; s < kScales; ++s) {
                scale[s][r] = quants.scale[s];
                if constexpr (Quant::kHasOffset) offset[s][r] = quants.offset[s];
            }
        }
        words.set(q);
    }
    DEVICE void add(float* sums, const XBlock& x) const {
        int low[8], high[8];
        // Weights that have an offset are not negative (quant/tile.h).
        dot32_of_eight<Quant::kHasOffset>(words, x.q, low, high);
        UNROLL
        for (int r = 0; r < 8; ++r) {
            const float s[2] = {scale[0][r], scale[1][r]}, o[2] = {offset[0][r], offset[1][r]};
            sums[r] = add_step<Quant>(sums[r], s, o, {x.scale, x.sum, x.sum_low, x.sum_high},
                                      low[r], high[r]);
        }
    }
};

// sums[t][r] = this wave's share of row r of the row tile at `row` times token t.
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_rows(const u8* row, const Input& x, float (&sums)[kTokens][kTileRows]) {
    constexpr int kTiles = kCols / Quant::kTileElems, kSteps = Quant::kTileElems / kStepElems;
    for (int t = 0; t < kTokens; ++t)
        for (int r = 0; r < kTileRows; ++r) sums[t][r] = 0.0f;
    const auto* blocks = static_cast<const XBlock*>(x.data);
    const int tokens = imin(kTokens, x.count());
    for (int tile = kWaves == 1 ? 0 : wave_id(); tile < kTiles; tile += kWaves) {
        const u8* at = row + i64(tile) * Quant::kTileBytes;
        for (int first = 0; first < kTileRows; first += 8) {
            typename Quant::Head heads[8];
            UNROLL
            for (int r = 0; r < 8; ++r) heads[r] = Quant::load_head(at, first + r);
            for (int step = 0; step < kSteps; ++step) {
                EightRows<Quant> rows;
                rows.load(at, heads, first, step);
                const int k = tile * kSteps + step;
                for (int t = 0; t < tokens; ++t)
                    rows.add(&sums[t][first], blocks[x.row(t) * (kCols / 32) + k]);
            }
        }
    }
}
