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

// Loads the scales of a block of activations, but only those that Quant's sums take: fewer
// registers wait for loads.
template <class Quant>
DEVICE inline XScales load_scales(const XBlock* block) {
    if constexpr (Quant::kScaleElems == 32) {
        const U2 raw = *reinterpret_cast<const U2*>(block);
        return {float_of(raw.x), float_of(raw.y), 0.0f, 0.0f};
    } else {
        const U4 raw = load128(block);
        return {float_of(raw.x), 0.0f, float_of(raw.z), float_of(raw.w)};
    }
}

// A lane's part of a block of activations of kIntColumns tokens: bytes and scales.
template <class Quant>
struct GroupInputs {
    IntColumns columns;
    XScales shares[kIntShares];

    // This load() takes rows: the tokens' activations begin at columns_at and shares_at, in blocks.
    DEVICE void load(const XBlock* blocks, int columns_at, const int (&shares_at)[kIntShares],
                     int block) {
        columns = int_columns(reinterpret_cast<const u8*>(blocks[columns_at + block].q));
        UNROLL
        for (int i = 0; i < kIntShares; ++i)
            shares[i] = load_scales<Quant>(blocks + shares_at[i] + block);
    }
    // This load() takes a tile of as many tokens. It is a template, since not every target has
    // int_tile_columns().
    template <class Tile>
    DEVICE void load(const Tile* tile) {
        static_assert(sizeof(Tile) > 0 && kXTileRows == kIntColumns, "one group of tokens a tile");
        columns = int_tile_columns(tile->q);
        load_pairs(tile->scales, &XScales::scale, &XScales::sum);
        if constexpr (Quant::kScaleElems == 16)
            load_pairs(tile->halves, &XScales::sum_low, &XScales::sum_high);
    }
    // Scales of the tokens of the lane's sums.
    template <int kColumns>
    DEVICE void scales(XScales (&out)[kColumns]) const {
        spread(&XScales::scale, out);
        if constexpr (!Quant::kHasOffset) return;
        if constexpr (Quant::kScaleElems == 32) {
            spread(&XScales::sum, out);
        } else {
            spread(&XScales::sum_low, out);
            spread(&XScales::sum_high, out);
        }
    }

  private:
    // One load gives both pairs, since the lane's tokens are neighbours.
    DEVICE void load_pairs(const float (&pairs)[kXTileRows][2], float XScales::*first,
                           float XScales::*second) {
        const U4 raw = load128(pairs[int_share_column(0)]);
        const float values[4] = {float_of(raw.x), float_of(raw.y), float_of(raw.z),
                                 float_of(raw.w)};
        UNROLL
        for (int i = 0; i < kIntShares; ++i) {
            shares[i].*first = values[2 * i];
            shares[i].*second = values[2 * i + 1];
        }
    }
    template <int kColumns>
    DEVICE void spread(float XScales::*value, XScales (&out)[kColumns]) const {
        float own[kIntShares], all[kColumns];
        UNROLL
        for (int i = 0; i < kIntShares; ++i) own[i] = shares[i].*value;
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
    // start() is where a token's activations begin, in blocks. Tokens repeat where there are fewer
    // than columns.
    const auto start = [&](int n, int column) {
        return int(x.row((n * kIntColumns + column) % kTokens)) * (kCols / 32);
    };
    const int first = kWaves == 1 ? 0 : wave_id();
    // More than 8 waves hide each other's loads, and have half the registers.
    constexpr bool kManyWaves = kWaves > 8 && !kLoadsInOrder;
    // Activations of the next groups of tokens, of this step or the next, are on their way while
    // one group is multiplied.
    constexpr int kGroupsAhead = kGroups < 2 || kManyWaves ? 1 : 2;
    GroupInputs<Quant> ahead[kGroupsAhead];
    const auto load_inputs = [&](int group, int block) {
        GroupInputs<Quant>& inputs = ahead[group % kGroupsAhead];
        if constexpr (Input::kTiled) {
            const int tile = imin(x.first / kXTileRows + group, x.last / kXTileRows);
            inputs.load(static_cast<const XTile*>(x.data) + tile * (kCols / 32) + block);
        } else {
            int shares_at[kIntShares];
            UNROLL
            for (int i = 0; i < kIntShares; ++i) shares_at[i] = start(group, int_share_column(i));
            inputs.load(static_cast<const XBlock*>(x.data), start(group, int_own_column()),
                        shares_at, block);
        }
    };
    UNROLL
    for (int n = 0; n < kGroupsAhead; ++n) load_inputs(n, imin(first, kTiles - 1) * kSteps);
    // multiply() takes one step, whose weights are at hand.
    const auto multiply = [&](const Quants& quants, int block, int next_block) {
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
            const GroupInputs<Quant> inputs = ahead[n % kGroupsAhead];
            // Pinned: the inputs of several steps at once would take all registers on AMD.
            load_inputs((n + kGroupsAhead) % kGroups,
                        pinned(n + kGroupsAhead < kGroups ? block : next_block));
            XScales scales[kColumns];
            inputs.scales(scales);
            UNROLL
            for (int half = 0; half < 2; ++half) {
                IntSums low, high;
                int_clear(low);
                int_clear(high);
                if constexpr (Quant::kScaleElems == 16) {
                    int_mul_low(low, rows[half], inputs.columns);
                    int_mul_high(high, rows[half], inputs.columns);
                } else {
                    int_mul(low, rows[half], inputs.columns);
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
    if constexpr (kManyWaves) {
        ROLLED
        for (int tile = first; tile < kTiles; tile += kWaves) {
            const u8* at = row + i64(tile) * Quant::kTileBytes;
            const auto head = Quant::load_head(at, lane);
            UNROLL
            for (int step = 0; step < kSteps; ++step) {
                Quants quants;
                Quant::load(at, head, lane, step, quants);
                const int block = tile * kSteps + step;
                multiply(quants, block,
                         step + 1 < kSteps ? block + 1 : imin(tile + kWaves, kTiles - 1) * kSteps);
            }
        }
    } else {
        // kNextTile: the next tile's weights are on their way, too. On AMD a wave that waits
        // for activations would wait for those weights as well: other waves fill the time, and
        // fewer registers let more in. Beside 32 sums there are no registers for them.
        constexpr bool kNextTile = !kLoadsInOrder && kTokens <= 16;
        TileImage<Quant> image, next;
        if constexpr (kNextTile)
            image.load(row + i64(imin(first, kTiles - 1)) * Quant::kTileBytes, lane);
        ROLLED
        for (int tile = first; tile < kTiles; tile += kWaves) {
            const int next_tile = imin(tile + kWaves, kTiles - 1);
            if constexpr (kNextTile)
                next.load(row + i64(next_tile) * Quant::kTileBytes, lane);
            else
                image.load(row + i64(tile) * Quant::kTileBytes, lane);
            const auto head = Quant::load_head(image, lane);
            UNROLL
            for (int step = 0; step < kSteps; ++step) {
                Quants quants;
                Quant::load(image, head, lane, step, quants);
                const int block = tile * kSteps + step;
                multiply(quants, block, step + 1 < kSteps ? block + 1 : next_tile * kSteps);
            }
            if constexpr (kNextTile) image = next;
        }
    }
    wave_barrier();  // the memory is free
}

// Puts the sums of one round, kSumTokens<kTokens> tokens, to where kept_sums() looks for them.
template <int kTokens>
DEVICE inline void put_sums(const float (&acc)[kTokens], int round, float* part) {
    using Sums = LaneSums<kTokens>;
    constexpr int kCount = kSumTokens<kTokens, true>;
    UNROLL
    for (int i = 0; i < kCount; ++i) {
        const int c = i % Sums::kColumns, r = i / Sums::kColumns % kIntLaneRows;
        const int half = i / (Sums::kColumns * kIntLaneRows) % 2;
        const int n = i / (Sums::kColumns * kIntLaneRows * 2);
        part[(n * kIntColumns + int_column(c)) * kWaveSize + 16 * half + int_row(r)] =
            acc[round * kCount + i];
    }
}

#endif

// A wave's share of a row tile times kTokens tokens: LaneSums where kMatrix, else what RowValues
// says. sum_waves takes it.
template <int kTokens, bool kMatrix>
struct RowSums {
    static constexpr int kRows = kMatrix ? 1 : kLaneRows;
    float v[kTokens][kRows];
};

template <class Quant, int kCols, int kTokens, int kWaves, bool kMatrix, class Input>
DEVICE inline void row_tile_product(const u8* w, int row_tile, const Input& x,
                                    SumMemory<kTokens, kWaves, kMatrix>& memory,
                                    RowSums<kTokens, kMatrix>& sums) {
    [[maybe_unused]] float acc[kTokens];
    if constexpr (kMatrix) {
#if defined(HETUNE_INT_MATRIX)
        row_tile_by_matrix<Quant, kCols, kTokens, kWaves>(
            w, row_tile, x, memory.of(kWaves == 1 ? 0 : wave_id()), acc);
#else
        static_assert(!kMatrix, "the target has integer matrix units");
#endif
    } else if constexpr (kLanesInTurn) {
        if (is_idle_lane()) return;
        row_tile_dot_of_all<Quant, kCols, kTokens, kWaves>(w, row_tile, x, sums.v);
        return;
    } else {
        row_tile_dot_of<Quant, kCols, kTokens, kWaves>(w, row_tile, lane_id(), x, acc);
    }
    UNROLL
    for (int t = 0; t < kTokens; ++t) sums.v[t][0] = acc[t];
}

// row_tile_product() of two matrices of one height with one input.
template <class A, class B, int kCols, int kTokens, int kWaves, bool kMatrix, class Input>
DEVICE inline void row_tile_products(const u8* a, const u8* b, int row_tile, const Input& x,
                                     SumMemory<kTokens, kWaves, kMatrix>& memory_a,
                                     RowSums<kTokens, kMatrix>& sums_a,
                                     SumMemory<kTokens, kWaves, kMatrix>& memory_b,
                                     RowSums<kTokens, kMatrix>& sums_b) {
    if constexpr (kMatrix || kLanesInTurn) {
        row_tile_product<A, kCols>(a, row_tile, x, memory_a, sums_a);
        row_tile_product<B, kCols>(b, row_tile, x, memory_b, sums_b);
    } else {
        float acc_a[kTokens], acc_b[kTokens];
        row_tile_dots<A, B, kCols, kTokens, kWaves>(a, b, row_tile, x, acc_a, acc_b);
        UNROLL
        for (int t = 0; t < kTokens; ++t) {
            sums_a.v[t][0] = acc_a[t];
            sums_b.v[t][0] = acc_b[t];
        }
    }
}

// Puts the wave's share of a round's tokens to where the waves add up.
template <int kTokens, int kWaves, bool kMatrix>
DEVICE inline void keep_sums(const RowSums<kTokens, kMatrix>& sums, int round,
                             SumMemory<kTokens, kWaves, kMatrix>& memory) {
    float* own = memory.of(kWaves == 1 ? 0 : wave_id());
    if constexpr (kMatrix) {
#if defined(HETUNE_INT_MATRIX)
        float acc[kTokens];
        UNROLL
        for (int t = 0; t < kTokens; ++t) acc[t] = sums.v[t][0];
        put_sums(acc, round, own);
#endif
    } else {
        if (is_idle_lane()) return;
        UNROLL
        for (int t = 0; t < kTokens; ++t) UNROLL
        for (int i = 0; i < kLaneRows; ++i) own[t * kWaveSize + lane_row(i)] = sums.v[t][i];
    }
}

// kept_sums() adds up the round's token `t` over the waves, behind keep_sums() and a barrier.
template <int kTokens, int kWaves, bool kMatrix>
DEVICE inline RowValues kept_sums(SumMemory<kTokens, kWaves, kMatrix>& memory, int t) {
    RowValues sums;
    UNROLL
    for (int i = 0; i < kLaneRows; ++i) {
        const int at = t * kWaveSize + lane_row(i);
        sums.v[i] = kWaves == 1 ? memory.of(0)[at] : 0.0f;
        UNROLL
        for (int w = 0; kWaves > 1 && w < kWaves; ++w) sums.v[i] += memory.of(w)[at];
    }
    return sums;
}

template <int kTokens>
DEVICE inline RowValues sums_of(const RowSums<kTokens, false>& sums, int t) {
    RowValues own;
    UNROLL
    for (int i = 0; i < kLaneRows; ++i) own.v[i] = sums.v[t][i];
    return own;
}

// Adds the waves' shares by rounds of kSumTokens: keep(round), then finish(token, token of the
// round) by every kWaves-th wave, in all its lanes that are not idle.
template <int kTokens, int kWaves, bool kMatrix, class Keep, class Finish>
DEVICE inline void sum_rounds(Keep&& keep, Finish&& finish) {
    constexpr int kCount = kSumTokens<kTokens, kMatrix>;
    UNROLL
    for (int round = 0; round < kTokens / kCount; ++round) {
        if (round > 0) barrier();  // the sums before have been read
        keep(round);
        barrier();
        if (is_idle_lane()) continue;
        for (int t = kWaves == 1 ? 0 : wave_id(); t < kCount; t += kWaves)
            finish(round * kCount + t, t);
    }
}

// Adds the waves' shares and calls finish(token, RowValues).
template <int kTokens, int kWaves, bool kMatrix, class Finish>
DEVICE inline void sum_waves(const RowSums<kTokens, kMatrix>& sums,
                             SumMemory<kTokens, kWaves, kMatrix>& memory, Finish&& finish) {
    if constexpr (kWaves == 1 && !kMatrix) {
        if (is_idle_lane()) return;
        UNROLL
        for (int t = 0; t < kTokens; ++t) finish(t, sums_of(sums, t));
    } else {
        sum_rounds<kTokens, kWaves, kMatrix>(
            [&](int round) { keep_sums(sums, round, memory); },
            [&](int token, int t) { finish(token, kept_sums(memory, t)); });
    }
}

// Adds the waves' shares of two products and calls finish(token, RowValues a, RowValues b).
template <int kTokens, int kWaves, bool kMatrix, class Finish>
DEVICE inline void sum_waves(const RowSums<kTokens, kMatrix>& a,
                             SumMemory<kTokens, kWaves, kMatrix>& memory_a,
                             const RowSums<kTokens, kMatrix>& b,
                             SumMemory<kTokens, kWaves, kMatrix>& memory_b, Finish&& finish) {
    if constexpr (kWaves == 1 && !kMatrix) {
        if (is_idle_lane()) return;
        UNROLL
        for (int t = 0; t < kTokens; ++t) finish(t, sums_of(a, t), sums_of(b, t));
    } else {
        sum_rounds<kTokens, kWaves, kMatrix>(
            [&](int round) {
                keep_sums(a, round, memory_a);
                keep_sums(b, round, memory_b);
            },
            [&](int token, int t) {
                finish(token, kept_sums(memory_a, t), kept_sums(memory_b, t));
            });
    }
}
