// The products of row_tile.h for 8 tokens and more on the integer matrix units: bit for bit the
// sums that row_tile_dot gives, since the product of a block of 32 is an integer, and blocks are
// scaled and added in the same order.
//
// A wave puts a step's weights into LDS, its rows side by side, and takes them out as the operands
// of two tiles of 16 rows. What a lane then has are sums of four rows and of two tokens in eight.
#pragma once

#include "linear/row_tile.h"
#include "prelude/int_matrix.h"

// Whether the target has them: else kMatrix is false.
#if defined(HETUNE_INT_MATRIX)

// A wave's place for a step: 32 rows of bytes, so far apart that no two of eight lie in the same
// banks, and the scales and offsets of the rows.
constexpr int kStepPitch = 48;
constexpr int kStepScales = kTileRows * kStepPitch / 4;  // floats before them

template <class Quant>
struct StepImage {
    static constexpr int kScales = Quant::kScaleElems == 16 ? 2 : 1;
    static constexpr int kOffsets = Quant::kHasOffset ? kScales : 0;
    static constexpr int kValues = kScales + kOffsets;  // of a row
    static_assert(kStepScales + kTileRows * kValues <= 16 * kWaveSize, "SumMemory has 16 columns");

    DEVICE static void put(float* memory, const Quants& w) {
        const int lane = lane_id();
        u8* row = reinterpret_cast<u8*>(memory) + lane * kStepPitch;
        store128(row, {w.q[0], w.q[1], w.q[2], w.q[3]});
        store128(row + 16, {w.q[4], w.q[5], w.q[6], w.q[7]});
        float* values = memory + kStepScales + lane;
        UNROLL
        for (int i = 0; i < kScales; ++i) values[i * kTileRows] = w.scale[i];
        UNROLL
        for (int i = 0; i < kOffsets; ++i) values[(kScales + i) * kTileRows] = w.offset[i];
    }
    DEVICE static void get(const float* memory, int row, float (&scale)[2], float (&offset)[2]) {
        const float* values = memory + kStepScales + row;
        UNROLL
        for (int i = 0; i < kScales; ++i) scale[i] = values[i * kTileRows];
        UNROLL
        for (int i = 0; i < kOffsets; ++i) offset[i] = values[(kScales + i) * kTileRows];
    }
};

// A lane's part of a step's activations: two words of one token of each group of eight, and
// the scales of two tokens.
template <int kGroups>
struct StepInputs {
    u32 words[kGroups][2];
    XScales scales[kGroups][2];

    DEVICE void load(const XBlock* blocks, const i64 (&words_at)[kGroups],
                     const i64 (&scales_at)[kGroups][2], i64 block) {
        const int lane = lane_id();
        UNROLL
        for (int n = 0; n < kGroups; ++n) {
            const u32* q = blocks[words_at[n] + block].q;
            words[n][0] = q[lane % 4];
            words[n][1] = q[4 + lane % 4];
            UNROLL
            for (int c = 0; c < 2; ++c) {
                const U4 raw = load128(blocks + scales_at[n][c] + block);
                scales[n][c] = {float_of(raw.x), float_of(raw.y), float_of(raw.z), float_of(raw.w)};
            }
        }
    }
};

// acc[(n * 4 + r) * 2 + c]: this wave's share of row int_row(r) of the row tile times token
// 8 n + int_column(c). `memory` is this wave's alone.
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_by_matrix(const u8* w, int row_tile, const Input& x, float* memory,
                                      float (&acc)[kTokens]) {
    static_assert(kTokens % 8 == 0 && Quant::kInteger && Input::kQuantised);
    constexpr int kTiles = kCols / Quant::kTileElems;
    constexpr int kSteps = Quant::kTileElems / kStepElems;
    constexpr int kGroups = kTokens / 8;
    UNROLL
    for (int t = 0; t < kTokens; ++t) acc[t] = 0.0f;
    const int lane = lane_id();
    const u8* row = w + i64(row_tile) * kTiles * Quant::kTileBytes;
    const auto* blocks = static_cast<const XBlock*>(x.data);
    i64 words_at[kGroups], scales_at[kGroups][2];  // of tokens, in blocks
    UNROLL
    for (int n = 0; n < kGroups; ++n) {
        words_at[n] = x.row(8 * n + lane / 4) * (kCols / 32);
        UNROLL
        for (int c = 0; c < 2; ++c) scales_at[n][c] = x.row(8 * n + int_column(c)) * (kCols / 32);
    }
    const int first = kWaves == 1 ? 0 : wave_id();
    // One step, whose weights and activations are at hand.
    const auto multiply = [&](const Quants& quants, const StepInputs<kGroups>& inputs) {
        wave_barrier();  // the step before has been read
        StepImage<Quant>::put(memory, quants);
        wave_barrier();
        const auto* bytes = reinterpret_cast<const u8*>(memory);
        const IntRows rows[2] = {int_rows(bytes, kStepPitch),
                                 int_rows(bytes + 16 * kStepPitch, kStepPitch)};
        float scale[4][2], offset[4][2];
        UNROLL
        for (int r = 0; r < 4; ++r) StepImage<Quant>::get(memory, int_row(r), scale[r], offset[r]);
        UNROLL
        for (int n = 0; n < kGroups; ++n) {
            const IntColumns columns = int_columns(inputs.words[n][0], inputs.words[n][1]);
            UNROLL
            for (int half = 0; half < 2; ++half) {
                IntSums low, high;
                int_clear(low);
                int_clear(high);
                if constexpr (Quant::kScaleElems == 16) {
                    int_mul_low(low, rows[half], columns);
                    int_mul_high(high, rows[half], columns);
                } else {
                    int_mul(low, rows[half], columns);
                }
                UNROLL
                for (int i = 0; i < 4; ++i) {
                    const int r = 2 * half + i / 2, c = i % 2;
                    float& sum = acc[(n * 4 + r) * 2 + c];
                    sum = add_step<Quant>(sum, scale[r], offset[r], inputs.scales[n][c], low.v[i],
                                          high.v[i]);
                }
            }
        }
    };
    if constexpr (kWaves > 8) {
        // So many waves hide each other's loads, and have half the registers.
        ROLLED
        for (int tile = first; tile < kTiles; tile += kWaves) {
            const u8* at = row + i64(tile) * Quant::kTileBytes;
            const auto head = Quant::load_head(at, lane);
            const int steps = pinned(kSteps);
            for (int step = 0; step < steps; ++step) {
                StepInputs<kGroups> inputs;
                inputs.load(blocks, words_at, scales_at, i64(tile) * kSteps + step);
                Quants quants;
                Quant::load(at, head, lane, step, quants);
                multiply(quants, inputs);
            }
        }
    } else {
        // Activations of the next step, and the next tile's weights, are on their way while a step
        // is multiplied.
        StepInputs<kGroups> inputs, next_inputs;
        inputs.load(blocks, words_at, scales_at, i64(imin(first, kTiles - 1)) * kSteps);
        TileImage<Quant> image, next;
        image.load(row + i64(imin(first, kTiles - 1)) * Quant::kTileBytes, lane);
        ROLLED
        for (int tile = first; tile < kTiles; tile += kWaves) {
            next.load(row + i64(imin(tile + kWaves, kTiles - 1)) * Quant::kTileBytes, lane);
            const auto head = Quant::load_head(image, lane);
            UNROLL
            for (int step = 0; step < kSteps; ++step) {
                const i64 following = step + 1 < kSteps
                                          ? i64(tile) * kSteps + step + 1
                                          : i64(imin(tile + kWaves, kTiles - 1)) * kSteps;
                next_inputs.load(blocks, words_at, scales_at, following);
                Quants quants;
                Quant::load(image, head, lane, step, quants);
                multiply(quants, inputs);
                inputs = next_inputs;
            }
            image = next;
        }
    }
    wave_barrier();  // the memory is free
}

// Where sum_waves looks for them.
template <int kTokens>
DEVICE inline void put_sums(const float (&acc)[kTokens], float* part) {
    UNROLL
    for (int i = 0; i < kTokens; ++i)
        part[(i / 8 * 8 + int_column(i % 2)) * kWaveSize + int_row(i / 2 % 4)] = acc[i];
}

#endif

// acc: the wave's share of a row tile times kTokens tokens. sum_waves takes it.
template <class Quant, int kCols, int kTokens, int kWaves, bool kMatrix, class Input>
DEVICE inline void row_tile_product(const u8* w, int row_tile, const Input& x,
                                    SumMemory<kTokens, kWaves, kMatrix>& memory,
                                    float (&acc)[kTokens]) {
#if defined(HETUNE_INT_MATRIX)
    if constexpr (kMatrix) {
        row_tile_by_matrix<Quant, kCols, kTokens, kWaves>(
            w, row_tile, x, memory.of(kWaves == 1 ? 0 : wave_id()), acc);
        return;
    }
#else
    static_assert(!kMatrix, "the target has integer matrix units");
#endif
    row_tile_dot<Quant, kCols, kTokens, kWaves>(w, row_tile, x, acc);
}

// The wave's share to where the waves add up.
template <int kTokens, int kWaves, bool kMatrix>
DEVICE inline void keep_sums(const float (&acc)[kTokens],
                             SumMemory<kTokens, kWaves, kMatrix>& memory) {
    float* own = memory.of(kWaves == 1 ? 0 : wave_id());
#if defined(HETUNE_INT_MATRIX)
    if constexpr (kMatrix) {
        put_sums(acc, own);
        return;
    }
#endif
    UNROLL
    for (int t = 0; t < kTokens; ++t) own[t * kWaveSize + lane_id()] = acc[t];
}

// The sum of row `lane` and token `t` over the waves, behind keep_sums() and a barrier.
template <int kTokens, int kWaves, bool kMatrix>
DEVICE inline float kept_sum(SumMemory<kTokens, kWaves, kMatrix>& memory, int t) {
    const int at = t * kWaveSize + lane_id();
    if constexpr (kWaves == 1) return memory.of(0)[at];
    float sum = 0.0f;
    UNROLL
    for (int w = 0; w < kWaves; ++w) sum += memory.of(w)[at];
    return sum;
}

// Adds the waves' shares. Wave w finishes tokens w, w + kWaves, ...: for those, and in all its
// lanes, calls finish(token, sum).
template <int kTokens, int kWaves, bool kMatrix, class Finish>
DEVICE inline void sum_waves(const float (&acc)[kTokens],
                             SumMemory<kTokens, kWaves, kMatrix>& memory, Finish&& finish) {
    if constexpr (kWaves == 1 && !kMatrix) {
        UNROLL
        for (int t = 0; t < kTokens; ++t) finish(t, acc[t]);
    } else {
        keep_sums(acc, memory);
        barrier();
        for (int t = kWaves == 1 ? 0 : wave_id(); t < kTokens; t += kWaves)
            finish(t, kept_sum(memory, t));
    }
}
