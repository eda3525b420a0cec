// The products of row_tile.h for 8 tokens and more on the integer matrix units: bit for bit the
// sums that row_tile_dot gives, since the product of a block of 32 is an integer, and blocks are
// scaled and added in the same order.
//
// A wave puts a step's weights into LDS, its rows side by side, and takes them out as the operands
// of two tiles of 16 rows. On AMD, too: there lanes l and l + 16 need the bytes of one row, and
// lane l has unpacked those of row l. Through LDS that takes 6 instructions for the bytes and 3 to
// 6 for scales and offsets, none of them on the vector ALU, which has most to do. A permlanex16 and
// two selects for each register are 27 to 36 there. Lanes that unpack rows l % 16 and 16 + l % 16
// take twice the loads and twice the instructions of unpacking (20 for Q4_0, 70 for IQ4_NL).
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

// A lane's part of a step's activations: bytes and scales of each group of kIntColumns tokens.
template <int kGroups>
struct StepInputs {
    IntColumns columns[kGroups];
    XScales shares[kGroups][kIntShares];

    DEVICE void load(const XBlock* blocks, const i64 (&columns_at)[kGroups],
                     const i64 (&shares_at)[kGroups][kIntShares], i64 block) {
        UNROLL
        for (int n = 0; n < kGroups; ++n) {
            columns[n] = int_columns(reinterpret_cast<const u8*>(blocks[columns_at[n] + block].q));
            UNROLL
            for (int i = 0; i < kIntShares; ++i) {
                const U4 raw = load128(blocks + shares_at[n][i] + block);
                shares[n][i] = {float_of(raw.x), float_of(raw.y), float_of(raw.z), float_of(raw.w)};
            }
        }
    }
    // Scales of the tokens of the lane's sums.
    template <int kColumns>
    DEVICE void scales(int n, XScales (&out)[kColumns]) const {
        spread<kColumns>(n, &XScales::scale, out);
        spread<kColumns>(n, &XScales::sum, out);
        spread<kColumns>(n, &XScales::sum_low, out);
        spread<kColumns>(n, &XScales::sum_high, out);
    }

  private:
    template <int kColumns>
    DEVICE void spread(int n, float XScales::*value, XScales (&out)[kColumns]) const {
        float own[kIntShares], all[kColumns];
        UNROLL
        for (int i = 0; i < kIntShares; ++i) own[i] = shares[n][i].*value;
        int_shared(own, all);
        UNROLL
        for (int c = 0; c < kColumns; ++c) out[c].*value = all[c];
    }
};

// Which sums a lane has of a row tile times kTokens tokens: of groups of tokens, halves of 16 rows,
// rows and tokens within them.
template <int kTokens>
struct LaneSums {
    static constexpr int kGroups = (kTokens + kIntColumns - 1) / kIntColumns;
    static constexpr int kColumns = int_lane_columns(kTokens);
    static_assert(kGroups * 2 * kIntLaneRows * kColumns == kTokens);

    static constexpr int at(int n, int half, int r, int c) {
        return ((n * 2 + half) * kIntLaneRows + r) * kColumns + c;
    }
};

// acc: this wave's share of LaneSums. `memory` is this wave's alone.
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_by_matrix(const u8* w, int row_tile, const Input& x, float* memory,
                                      float (&acc)[kTokens]) {
    static_assert(kTokens % 8 == 0 && Quant::kInteger && Input::kQuantised);
    using Sums = LaneSums<kTokens>;
    constexpr int kTiles = kCols / Quant::kTileElems;
    constexpr int kSteps = Quant::kTileElems / kStepElems;
    constexpr int kGroups = Sums::kGroups, kColumns = Sums::kColumns;
    UNROLL
    for (int t = 0; t < kTokens; ++t) acc[t] = 0.0f;
    const int lane = lane_id();
    const u8* row = w + i64(row_tile) * kTiles * Quant::kTileBytes;
    const auto* blocks = static_cast<const XBlock*>(x.data);
    i64 columns_at[kGroups], shares_at[kGroups][kIntShares];  // of tokens, in blocks
    // Where there are fewer tokens than columns, these repeat.
    const auto start = [&](int n, int column) {
        return x.row((n * kIntColumns + column) % kTokens) * (kCols / 32);
    };
    UNROLL
    for (int n = 0; n < kGroups; ++n) {
        columns_at[n] = start(n, int_own_column());
        UNROLL
        for (int i = 0; i < kIntShares; ++i) shares_at[n][i] = start(n, int_share_column(i));
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
        float scale[2][kIntLaneRows][2], offset[2][kIntLaneRows][2];
        UNROLL
        for (int half = 0; half < 2; ++half) UNROLL
        for (int r = 0; r < kIntLaneRows; ++r)
            StepImage<Quant>::get(memory, 16 * half + int_row(r), scale[half][r], offset[half][r]);
        UNROLL
        for (int n = 0; n < kGroups; ++n) {
            XScales scales[kColumns];
            inputs.scales(n, scales);
            UNROLL
            for (int half = 0; half < 2; ++half) {
                IntSums low, high;
                int_clear(low);
                int_clear(high);
                if constexpr (Quant::kScaleElems == 16) {
                    int_mul_low(low, rows[half], inputs.columns[n]);
                    int_mul_high(high, rows[half], inputs.columns[n]);
                } else {
                    int_mul(low, rows[half], inputs.columns[n]);
                }
                UNROLL
                for (int i = 0; i < kIntLaneRows * kColumns; ++i) {
                    const int r = i / kColumns, c = i % kColumns;
                    float& sum = acc[Sums::at(n, half, r, c)];
                    sum = add_step<Quant>(sum, scale[half][r], offset[half][r], scales[c], low.v[i],
                                          high.v[i]);
                }
            }
        }
    };
    constexpr bool kAhead = !kLoadsInOrder;
    if constexpr (kWaves > 8 && kAhead) {
        // So many waves hide each other's loads, and have half the registers.
        ROLLED
        for (int tile = first; tile < kTiles; tile += kWaves) {
            const u8* at = row + i64(tile) * Quant::kTileBytes;
            const auto head = Quant::load_head(at, lane);
            const int steps = pinned(kSteps);
            for (int step = 0; step < steps; ++step) {
                StepInputs<kGroups> inputs;
                inputs.load(blocks, columns_at, shares_at, i64(tile) * kSteps + step);
                Quants quants;
                Quant::load(at, head, lane, step, quants);
                multiply(quants, inputs);
            }
        }
    } else {
        // Activations of the next step are on their way while a step is multiplied. Where kAhead,
        // the next tile's weights are, too. Elsewhere a wave that waits for activations would wait
        // for those weights as well: other waves fill the time, and fewer registers let more in.
        StepInputs<kGroups> inputs, next_inputs;
        inputs.load(blocks, columns_at, shares_at, i64(imin(first, kTiles - 1)) * kSteps);
        TileImage<Quant> image, next;
        if constexpr (kAhead)
            image.load(row + i64(imin(first, kTiles - 1)) * Quant::kTileBytes, lane);
        ROLLED
        for (int tile = first; tile < kTiles; tile += kWaves) {
            const int next_tile = imin(tile + kWaves, kTiles - 1);
            if constexpr (kAhead)
                next.load(row + i64(next_tile) * Quant::kTileBytes, lane);
            else
                image.load(row + i64(tile) * Quant::kTileBytes, lane);
            const auto head = Quant::load_head(image, lane);
            UNROLL
            for (int step = 0; step < kSteps; ++step) {
                // Pinned: the inputs of several steps at once would take all registers on AMD.
                next_inputs.load(
                    blocks, columns_at, shares_at,
                    pinned(step + 1 < kSteps ? tile * kSteps + step + 1 : next_tile * kSteps));
                Quants quants;
                Quant::load(image, head, lane, step, quants);
                multiply(quants, inputs);
                inputs = next_inputs;
            }
            if constexpr (kAhead) image = next;
        }
    }
    wave_barrier();  // the memory is free
}

// Where sum_waves looks for them.
template <int kTokens>
DEVICE inline void put_sums(const float (&acc)[kTokens], float* part) {
    using Sums = LaneSums<kTokens>;
    UNROLL
    for (int i = 0; i < kTokens; ++i) {
        const int c = i % Sums::kColumns, r = i / Sums::kColumns % kIntLaneRows;
        const int half = i / (Sums::kColumns * kIntLaneRows) % 2;
        const int n = i / (Sums::kColumns * kIntLaneRows * 2);
        part[(n * kIntColumns + int_column(c)) * kWaveSize + 16 * half + int_row(r)] = acc[i];
    }
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
