// The product at the heart of every linear kernel: 32 rows of W, one a lane, by kTokens columns.
//
// A lane owns a row, so nothing crosses lanes until the end; activations are the same for all
// lanes of a wave and come through scalar loads on RDNA (dot4 takes an SGPR operand); weights come
// in 16 bytes a lane, 512 a wave. The waves of a group share K and add up through LDS.
// Tokens of one group are read from the same weights: 1 in decode, more in prefill and in batches,
// each in the order of additions of a single one, so that results do not depend on the batch.
#pragma once

#include "quant/row_values.h"

// Weights of one step as floats, for float activations.
template <class Quant>
DEVICE inline void expand(const Quants& in, float (&w)[32]) {
    UNROLL
    for (int k = 0; k < 32; ++k) {
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

// Scale and sums of a block of activations.
struct XScales {
    float scale, sum, sum_low, sum_high;
};

// A step's share of a sum: the integer products of its first and last 16 weights, and the scales of
// both sides, of one row (Float is float) or several (RowFloats). Every operation is spelled out: a
// compiler that fuses a product and a sum here and not there would make the bits of a row depend on
// the kernel that computes it.
template <class Quant, class Float, class Int>
DEVICE inline Float add_step(Float acc, const Float (&scale)[2], const Float (&offset)[2],
                             const XScales& x, Int low, Int high) {
    if constexpr (Quant::kScaleElems == 32) {
        const Float factor = scale[0] * x.scale, sum = int_to_float(low + high);
        if constexpr (Quant::kHasOffset)
            return acc + fused_mul_add(offset[0], x.sum, factor * sum);
        else
            return fused_mul_add(factor, sum, acc);
    } else {
        const Float sum = fused_mul_add(scale[0], int_to_float(low), scale[1] * int_to_float(high));
        if constexpr (Quant::kHasOffset)
            return acc + fused_mul_add(offset[0], x.sum_low,
                                       fused_mul_add(offset[1], x.sum_high, x.scale * sum));
        else
            return fused_mul_add(sum, x.scale, acc);
    }
}

template <class Quant>
DEVICE inline float add_step(float acc, const Quants& w, const XBlock& x) {
    int low, high = 0;
    if constexpr (Quant::kScaleElems == 32)
        low = dot32(w.q, x.q);
    else
        dot32(w.q, x.q, low, high);
    return add_step<Quant>(acc, w.scale, w.offset, {x.scale, x.sum, x.sum_low, x.sum_high}, low,
                           high);
}

// Four partial sums: shorter chains for the scheduler.
DEVICE inline float dot_step(const float (&w)[32], const float* x) {
    float part[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    UNROLL
    for (int k = 0; k < 32; ++k) part[k % 4] = fused_mul_add(w[k], x[k], part[k % 4]);
    return (part[0] + part[1]) + (part[2] + part[3]);
}

// Activations of kCols columns: XBlock [rows, kCols/32], where kTiles XTile
// [ceil(rows / 8), kCols/32], or float [rows, kCols].
template <bool kBlocks, bool kTiles = false>
struct Activations {
    static constexpr bool kQuantised = kBlocks, kTiled = kTiles;
    const void* data;
    int first;  // row of token 0
    int last;   // rows beyond it are read as this one; their results are not stored

    DEVICE i64 row(int token) const { return imin(first + token, last); }
    DEVICE int count() const { return last - first + 1; }
};
// Rows that do not follow one another.
template <bool kBlocks, int kTokens>
struct GatheredActivations {
    static constexpr bool kQuantised = kBlocks, kTiled = false;
    const void* data;
    int rows[kTokens];
    int tokens;  // of which there are; results of those behind are not stored

    DEVICE i64 row(int token) const { return rows[token]; }
    DEVICE int count() const { return tokens; }
};

// By 128-bit loads: activations are the same for all lanes, and not every target has scalar loads
// that would put small ones together.
DEVICE inline XBlock load_block(const XBlock* from) {
    const u8* p = reinterpret_cast<const u8*>(from);
    const U4 head = load128(p), low = load128(p + 16), high = load128(p + 32);
    return {float_of(head.x),
            float_of(head.y),
            float_of(head.z),
            float_of(head.w),
            {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

// Tiles that a wave has on the way at once: small ones several, so that it is some KiB.
template <class Quant>
constexpr int kTilesInFlight = Quant::kPlanes >= 8   ? 1
                               : Quant::kPlanes >= 4 ? 2
                                                     : 4;

// A wave's next tiles of a row tile: those at, at + kWaves, ...; behind the last one it is read
// again.
template <class Quant, int kCols, int kWaves>
struct TileSet {
    static constexpr int kTiles = kCols / Quant::kTileElems;
    static constexpr int kSet = kTilesInFlight<Quant>;
    static constexpr int kStride = kSet * kWaves;
    TileImage<Quant> tiles[kSet];

    DEVICE void load(const u8* row, int at, int lane) {
        UNROLL
        for (int i = 0; i < kSet; ++i)
            tiles[i].load(row + i64(imin(at + i * kWaves, kTiles - 1)) * Quant::kTileBytes, lane);
    }
    DEVICE void multiply(const XBlock* x, int at, int lane, float& acc) const {
        constexpr int kSteps = Quant::kTileElems / kStepElems;
        UNROLL
        for (int i = 0; i < kSet; ++i) {
            const int tile = at + i * kWaves;
            if (kTiles % kStride != 0 && tile >= kTiles) break;
            const auto head = Quant::load_head(tiles[i], lane);
            int block = tile * kSteps;
            UNROLL
            for (int step = 0; step < kSteps; ++step) {
                // A block takes 12 scalar registers: those of all steps at once would spill.
                if ((i * kSteps + step) % 4 == 0) {
                    acc = settled(acc);
                    block = pinned(block);
                }
                Quants quants;
                Quant::load(tiles[i], head, lane, step, quants);
                acc = add_step<Quant>(acc, quants, load_block(x + block + step));
            }
        }
    }
};

// The product of a decode step: one token, 8-bit activations. The next tiles' weights are on their
// way while the current ones are multiplied.
template <class Quant, int kCols, int kWaves>
DEVICE inline float row_tile_step(const u8* row, const XBlock* x) {
    using Tiles = TileSet<Quant, kCols, kWaves>;
    constexpr int kTiles = Tiles::kTiles, kNext = Tiles::kStride;
    const int lane = lane_id();
    const int first = kWaves == 1 ? 0 : wave_id();
    float acc = 0.0f;
    Tiles a, b;
    a.load(row, first, lane);
    if constexpr (kTiles % kNext == 0 &&
                  kTiles / kNext <= 2) {  // no loop, so that all loads come first
        if constexpr (kTiles > kNext) b.load(row, first + kNext, lane);
        a.multiply(x, first, lane, acc);
        if constexpr (kTiles > kNext) b.multiply(x, first + kNext, lane, acc);
    } else {
        ROLLED
        for (int tile = first; tile < kTiles; tile += 2 * kNext) {
            b.load(row, tile + kNext, lane);
            a.multiply(x, tile, lane, acc);
            if (tile + kNext >= kTiles) break;
            a.load(row, tile + 2 * kNext, lane);
            b.multiply(x, tile + kNext, lane, acc);
        }
    }
    return acc;
}

// Two products with one input, of one row tile each: while a tile of one is multiplied, one of the
// other is on its way.
template <class A, class B, int kCols, int kWaves>
DEVICE inline void row_tile_steps(const u8* row_a, const u8* row_b, const XBlock* x, float& acc_a,
                                  float& acc_b) {
    acc_a = acc_b = 0.0f;
    if constexpr (A::kTileElems != B::kTileElems || kTilesInFlight<A> != kTilesInFlight<B>) {
        acc_a = row_tile_step<A, kCols, kWaves>(row_a, x);
        acc_b = row_tile_step<B, kCols, kWaves>(row_b, x);
    } else {
        using TilesA = TileSet<A, kCols, kWaves>;
        constexpr int kTiles = TilesA::kTiles, kNext = TilesA::kStride;
        const int lane = lane_id();
        const int first = kWaves == 1 ? 0 : wave_id();
        TilesA a;
        TileSet<B, kCols, kWaves> b;
        a.load(row_a, first, lane);
        if constexpr (kTiles == kNext) {
            b.load(row_b, first, lane);
            a.multiply(x, first, lane, acc_a);
            acc_a = settled(acc_a);
            b.multiply(x, first, lane, acc_b);
        } else {
            ROLLED
            for (int tile = first; tile < kTiles; tile += kNext) {
                b.load(row_b, tile, lane);
                a.multiply(x, tile, lane, acc_a);
                a.load(row_a, tile + kNext, lane);
                acc_a = settled(acc_a);
                b.multiply(x, tile, lane, acc_b);
            }
        }
    }
}

// The front of a row tile, two lines a lane, on its way into the cache. Before await_inputs(): it
// comes while the launch before still runs.
template <class Quant, int kCols, int kWaves>
DEVICE inline void prefetch_row_tile(const u8* w, int row_tile) {
    constexpr int kBytes = kCols / Quant::kTileElems * Quant::kTileBytes;
    constexpr int kLine = 128, kThreads = kWaves * kWaveSize;
    const u8* row = w + i64(row_tile) * kBytes;
    UNROLL
    for (int i = 0; i < 2; ++i)
        if (const int at = (i * kThreads + thread_id()) * kLine; at < kBytes) prefetch(row + at);
}

#include "linear/row_tile_rows.h"

// acc[t] = this wave's share of row `lane` of row tile `row_tile` times token t.
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_dot_of(const u8* w, int row_tile, int lane, const Input& x,
                                   float (&acc)[kTokens]) {
    constexpr bool kQuantised = Input::kQuantised;
    constexpr int kTiles = kCols / Quant::kTileElems;
    constexpr int kSteps = Quant::kTileElems / kStepElems;
    static_assert(kCols % Quant::kTileElems == 0, "a row is a whole number of tiles");
    static_assert(Quant::kInteger || !kQuantised, "8-bit activations need integer weights");
    static_assert(!Input::kTiled, "only the matrix units take tiles of tokens");

    UNROLL
    for (int t = 0; t < kTokens; ++t) acc[t] = 0.0f;
    const u8* row = w + i64(row_tile) * kTiles * Quant::kTileBytes;
    if constexpr (kTokens == 1 && kQuantised && kLoadsAhead) {
        acc[0] = row_tile_step<Quant, kCols, kWaves>(
            row, static_cast<const XBlock*>(x.data) + x.row(0) * (kCols / 32));
        return;
    }
    constexpr bool kOneByOne = kTokens > 1 || (Quant::kInteger && !kQuantised);
    // A loop that the compiler cannot unroll: several tiles at once spill.
    const int tiles = kOneByOne ? pinned(kTiles) : kTiles;
    for (int tile = kWaves == 1 ? 0 : wave_id(); tile < tiles; tile += kWaves) {
        const u8* at = row + i64(tile) * Quant::kTileBytes;
        auto with_step = [&](int step, auto&& weights) {
            UNROLL
            for (int t = 0; t < kTokens; ++t) {
                if (kTokens > 1 && skips(t >= x.count())) break;
                // A token's activations take 12 scalar registers and a step's weights as floats 32
                // vector ones: several at once would spill.
                const int k = kOneByOne ? pinned(tile * kSteps + step) : tile * kSteps + step;
                if constexpr (kOneByOne) loads_apart();
                const i64 token = x.row(t);
                if constexpr (kQuantised) {
                    const auto* blocks = static_cast<const XBlock*>(x.data);
                    acc[t] = add_step<Quant>(acc[t], weights, blocks[token * (kCols / 32) + k]);
                } else {
                    acc[t] += dot_step(weights,
                                       static_cast<const float*>(x.data) + token * kCols + k * 32);
                }
            }
        };
        if constexpr (Quant::kInteger) {
            const auto head = Quant::load_head(at, lane);
            UNROLL
            for (int step = 0; step < kSteps; ++step) {
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
            UNROLL
            for (int step = 0; step < kSteps; ++step) {
                float weights[32];
                Quant::load_float(at, lane, step, weights);
                with_step(step, weights);
            }
        }
    }
}

// row_tile_dot_of_all() is row_tile_dot_of() for all rows: sums[t][r] is that of row r.
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_dot_of_all(const u8* w, int row_tile, const Input& x,
                                       float (&sums)[kTokens][kTileRows]) {
#if defined(HETUNE_ROW_VECTORS)
    const u8* row = w + i64(row_tile) * (kCols / Quant::kTileElems) * Quant::kTileBytes;
    if constexpr (Input::kQuantised)
        row_tile_rows<Quant, kCols, kTokens, kWaves>(row, x, sums);
    else
        row_tile_floats<Quant, kCols, kTokens, kWaves>(row, x, sums);
#else
    for (int row = 0; row < kTileRows; ++row) {
        float acc[kTokens];
        row_tile_dot_of<Quant, kCols, kTokens, kWaves>(w, row_tile, row, x, acc);
        for (int t = 0; t < kTokens; ++t) sums[t][row] = acc[t];
    }
#endif
}

// row_tile_dot() is row_tile_dot_of() for this lane's row.
template <class Quant, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_dot(const u8* w, int row_tile, const Input& x, float (&acc)[kTokens]) {
    if constexpr (kLanesInTurn) {
        wave_once(acc, [&](float(&sums)[kTokens][kTileRows]) {
            row_tile_dot_of_all<Quant, kCols, kTokens, kWaves>(w, row_tile, x, sums);
        });
    } else {
        row_tile_dot_of<Quant, kCols, kTokens, kWaves>(w, row_tile, lane_id(), x, acc);
    }
}

// The same for two matrices of one height with one input.
template <class A, class B, int kCols, int kTokens, int kWaves, class Input>
DEVICE inline void row_tile_dots(const u8* a, const u8* b, int row_tile, const Input& x,
                                 float (&acc_a)[kTokens], float (&acc_b)[kTokens]) {
    if constexpr (kTokens == 1 && Input::kQuantised && kLoadsAhead) {
        row_tile_steps<A, B, kCols, kWaves>(
            a + i64(row_tile) * (kCols / A::kTileElems) * A::kTileBytes,
            b + i64(row_tile) * (kCols / B::kTileElems) * B::kTileBytes,
            static_cast<const XBlock*>(x.data) + x.row(0) * (kCols / 32), acc_a[0], acc_b[0]);
    } else {
        row_tile_dot<A, kCols, kTokens, kWaves>(a, row_tile, x, acc_a);
        row_tile_dot<B, kCols, kTokens, kWaves>(b, row_tile, x, acc_b);
    }
}

// kSumTokens tokens have their sums in SumMemory at a time: 32 tokens by 16 waves would take 64
// KiB.
template <int kTokens, bool kMatrix>
constexpr int kSumTokens = kMatrix&& kTokens > 16 ? 16 : kTokens;

// LDS in which the waves of a group add up. Where kMatrix, a wave's part first holds a step's
// weights (row_tile_matrix.h).
template <int kTokens, int kWaves, bool kMatrix>
struct SumMemory {
    static constexpr int kColumns = kMatrix ? 16 : kTokens;
    U4 words[kWaves][kColumns * kWaveSize / 4];
    DEVICE float* of(int wave) { return reinterpret_cast<float*>(words[wave]); }
};

// Adds the waves' shares. Wave w finishes tokens w, w + kWaves, ...: for those, and in all its
// lanes, calls finish(token, sum).
template <int kTokens, int kWaves, class Finish>
DEVICE inline void sum_waves(const float (&acc)[kTokens], float (*part)[kTokens][kWaveSize],
                             Finish&& finish) {
    if constexpr (kWaves == 1) {
        UNROLL
        for (int t = 0; t < kTokens; ++t) finish(t, acc[t]);
    } else {
        UNROLL
        for (int t = 0; t < kTokens; ++t) part[wave_id()][t][lane_id()] = acc[t];
        barrier();
        for (int t = wave_id(); t < kTokens; t += kWaves) {
            float sum = 0.0f;
            UNROLL
            for (int w = 0; w < kWaves; ++w) sum += part[w][t][lane_id()];
            finish(t, sum);
        }
    }
}
