// row_tile_dot where the lanes of a wave run one after another (kLanesInTurn): one lane computes
// the rows of all 32, kVectorRows at a time in vectors.
#pragma once

#include "quant/tile.h"

#if defined(HETUNE_ROW_VECTORS)

constexpr int kRowVectors = kTileRows / kVectorRows;

// The products of 8-bit activations are exact integers, and each row's sum takes the same
// operations in the same order (add_step), so the bits are those of a lane that computes its own
// row. sums[t][r] = this wave's share of row r of the row tile at `row` times token t.
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_rows(const u8* row, const Input& x, float (&sums)[kTokens][kTileRows]) {
    constexpr int kTiles = kCols / Quant::kTileElems, kSteps = Quant::kTileElems / kStepElems;
    RowFloats acc[kTokens][kRowVectors];
    for (int t = 0; t < kTokens; ++t)
        for (int v = 0; v < kRowVectors; ++v) acc[t][v] = RowFloats{};
    const auto* blocks = static_cast<const XBlock*>(x.data);
    const int tokens = kTokens == 1 ? 1 : imin(kTokens, x.count());
    for (int tile = kWaves == 1 ? 0 : wave_id(); tile < kTiles; tile += kWaves) {
        const TileRows at = {row + i64(tile) * Quant::kTileBytes};
        typename Quant::template HeadOf<RowWords> heads[kRowVectors];
        for (int v = 0; v < kRowVectors; ++v) heads[v] = Quant::load_head(at, v * kVectorRows);
        for (int step = 0; step < kSteps; ++step) {
            const int k = tile * kSteps + step;
            constexpr int kStepBytes = Quant::kTileBytes / kSteps;
            prefetch_ahead(at.tile + step * kStepBytes, kStepBytes);
            for (int v = 0; v < kRowVectors; ++v) {
                QuantsOf<RowWords> w;
                Quant::load(at, heads[v], v * kVectorRows, step, w);
                const RowDots<Quant::kLargest, !Quant::kHasOffset> dots(w.q);
                for (int t = 0; t < tokens; ++t) {
                    const XBlock& block = blocks[x.row(t) * (kCols / 32) + k];
                    RowInts low, high;
                    dots.add(w.q, block.q, low, high);
                    acc[t][v] = add_step<Quant>(
                        acc[t][v], w.scale, w.offset,
                        {block.scale, block.sum, block.sum_low, block.sum_high}, low, high);
                }
            }
        }
    }
    __builtin_memcpy(sums, acc, sizeof sums);
}

// The weights of a step of kFloatRows rows, as parts of kPartSums: as they are read, or unpacked
// once for all parts.
template <class Quant>
struct StepParts {
    static constexpr bool kInPlace = requires { Quant::load_part(nullptr, 0, 0); };
    static constexpr int kParts = kStepElems / kPartSums;
    const u8* tile;
    int first;
    RowFloats parts[kInPlace ? 1 : kParts];

    DEVICE void load(const u8* from, int first_row, int step) {
        tile = from;
        first = first_row;
        if constexpr (!kInPlace) {
            for (int r = 0; r < kFloatRows; ++r) {
                float all[kStepElems];
                load_floats<Quant>(tile, first + r, step, all);
                for (int part = 0; part < kParts; ++part)
                    __builtin_memcpy(reinterpret_cast<float*>(&parts[part]) + kPartSums * r,
                                     all + kPartSums * part, kPartSums * sizeof(float));
            }
        }
    }
    DEVICE RowFloats part(int number) const {
        if constexpr (kInPlace)
            return Quant::load_part(tile, first, number);
        else
            return parts[number];
    }
};

// kVectors vectors of rows from `first` on by kMost tokens from `token` on, all in registers.
template <class Quant, int kCols, int kWaves, int kVectors, int kMost, class Input, class Store>
DEVICE inline void row_tile_parts(const u8* row, const Input& x, int first, int token,
                                  Store&& store) {
    constexpr int kTiles = kCols / Quant::kTileElems, kSteps = Quant::kTileElems / kStepElems;
    RowFloats acc[kMost][kVectors];
    const float* inputs[kMost];
    UNROLL
    for (int t = 0; t < kMost; ++t) {
        inputs[t] = static_cast<const float*>(x.data) + x.row(token + t) * kCols;
        UNROLL
        for (int v = 0; v < kVectors; ++v) acc[t][v] = RowFloats{};
    }
    for (int tile = kWaves == 1 ? 0 : wave_id(); tile < kTiles; tile += kWaves) {
        const u8* at = row + i64(tile) * Quant::kTileBytes;
        if (first == 0 && token == 0) prefetch_ahead(at, Quant::kTileBytes);
        for (int step = 0; step < kSteps; ++step) {
            const int k = (tile * kSteps + step) * kStepElems;
            StepParts<Quant> weights[kVectors];
            UNROLL
            for (int v = 0; v < kVectors; ++v) weights[v].load(at, first + v * kFloatRows, step);
            UNROLL
            for (int part = 0; part < kStepElems / kPartSums; ++part) {
                if constexpr (kMost == 1) {  // no more of the weights in registers than one
                    const RowFloats in = part_for_rows(inputs[0] + k + kPartSums * part);
                    for (int v = 0; v < kVectors; ++v)
                        acc[0][v] = fused_mul_add(weights[v].part(part), in, acc[0][v]);
                } else {
                    RowFloats w[kVectors];
                    UNROLL
                    for (int v = 0; v < kVectors; ++v) w[v] = weights[v].part(part);
                    UNROLL
                    for (int t = 0; t < kMost; ++t) {
                        const RowFloats in = part_for_rows(inputs[t] + k + kPartSums * part);
                        UNROLL
                        for (int v = 0; v < kVectors; ++v)
                            acc[t][v] = fused_mul_add(w[v], in, acc[t][v]);
                    }
                }
            }
        }
    }
    UNROLL
    for (int t = 0; t < kMost; ++t) UNROLL
    for (int v = 0; v < kVectors; ++v) UNROLL
    for (int r = 0; r < kFloatRows; ++r)
        store(t, first + v * kFloatRows + r, sum_of_parts(acc[t][v], r));
}

// The products of float activations. A row has eight partial sums: weight k goes to sum k % 8, in
// order of k, over all tiles of the wave; these are added up at the end (sum_of_parts).
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_floats(const u8* row, const Input& x,
                                   float (&sums)[kTokens][kTileRows]) {
    constexpr int kVectors = kTokens == 1 ? kTileRows / kFloatRows : 4;
    constexpr int kMost = kTokens == 1 ? 1 : kVectorRows / 4;
    const int tokens = kTokens == 1 ? 1 : imin(kTokens, x.count());
    for (int first = 0; first < kTileRows; first += kVectors * kFloatRows) {
        int token = 0;
        const auto store = [&](int t, int r, float sum) { sums[token + t][r] = sum; };
        for (; token + kMost <= tokens; token += kMost)
            row_tile_parts<Quant, kCols, kWaves, kVectors, kMost>(row, x, first, token, store);
        for (; token < tokens; ++token)
            row_tile_parts<Quant, kCols, kWaves, kVectors, 1>(row, x, first, token, store);
    }
}

#endif
