// The product at the heart of prefill: a tile of activations by a tile of W on the matrix units.
//
// A group makes kTileM rows by kTileN columns, 32 columns of K (a slab) at a time. Activations come
// as half rows, W in its quantised tiles; each wave turns its row tiles of W into halves once per
// slab and puts them into LDS, where all waves take them from. Slab k + 1 is on its way from memory
// while slab k is multiplied; LDS holds both, so that one barrier a slab is enough.
// LDS rows are 40 halves apart: eight lanes that read or write 16 bytes each meet in no bank.
#pragma once

#include "elementwise/half_row.h"
#include "prelude/matrix.h"
#include "quant/tile.h"

constexpr int kSlab = 32;
constexpr int kPitch = kSlab + 8;
// Halves hold W times this, so that small weights keep their bits; |w| may be up to 1023.
constexpr float kWeightScale = 64.0f;

// 32 weights of a row as halves.
struct HalfWeights {
    u32 v[16];
};

template <class Quant>
DEVICE inline HalfWeights to_halves(const Quants& in) {
    HalfWeights out;
    UNROLL
    for (int half = 0; half < 2; ++half) {
        const int group = Quant::kScaleElems == 16 ? half : 0;
        const float s = in.scale[group] * kWeightScale;
        const u32 scale = half2_of(s, s);
        u32 offset = 0;
        if constexpr (Quant::kHasOffset) {
            const float o = in.offset[group] * kWeightScale;
            offset = half2_of(o, o);
        }
        UNROLL
        for (int j = 4 * half; j < 4 * half + 4; ++j) {
            u32 low, high;
            bytes_to_half2(in.q[j], low, high);
            out.v[2 * j] = half2_fma(low, scale, offset);
            out.v[2 * j + 1] = half2_fma(high, scale, offset);
        }
    }
    return out;
}

// A row tile of W on its way into LDS, a row a lane: fetch() starts the loads of a step of 32
// columns, halves() is what they became.
template <class Quant, bool kInteger = Quant::kInteger>
struct WeightStage {
    typename Quant::Head head;
    Quants quants;

    DEVICE void fetch(const u8* tile, int step) {
        if (step == 0) head = Quant::load_head(tile, lane_id());
        Quant::load(tile, head, lane_id(), step, quants);
    }
    DEVICE HalfWeights halves() const { return to_halves<Quant>(quants); }
};
template <class Quant>
struct WeightStage<Quant, false> {
    float w[32];

    DEVICE void fetch(const u8* tile, int step) { Quant::load_float(tile, lane_id(), step, w); }
    DEVICE HalfWeights halves() const {
        HalfWeights out;
        UNROLL
        for (int j = 0; j < 16; ++j)
            out.v[j] = half2_of(w[2 * j] * kWeightScale, w[2 * j + 1] * kWeightScale);
        return out;
    }
};

// kMatrices products with the same activations and format, each kTileM x kTileN. Waves stand in a
// grid over the tile, kWavesM x kWavesN, and each has its part of every product.
template <int kCols_, int kTileM_, int kTileN_, int kWaves, int kMatrices_ = 1>
struct GemmShape {
    static constexpr int kCols = kCols_, kTileM = kTileM_, kTileN = kTileN_, kMatrices = kMatrices_;
    static constexpr int kThreads = kWaves * kWaveSize;
    static constexpr int kWavesM = kWaves >= 4 && kTileM >= 64 ? 2 : 1;
    static constexpr int kWavesN = kWaves / kWavesM;
    static constexpr int kTilesM = kTileM / kWavesM / 16;  // 16 x 16 tiles of a wave
    static constexpr int kTilesN = kTileN / kWavesN / 16;  // of each matrix
    static constexpr int kRowTiles = kTileN / kTileRows;
    static constexpr int kStaged = kMatrices * kRowTiles / kWaves;  // row tiles of a wave
    static constexpr int kChunks = kTileM * kSlab / 8 / kThreads;   // 16 bytes of x each, of a lane
    static constexpr int kSlabs = kCols / kSlab;
    static_assert(kCols % kSlab == 0 && kTileM % (16 * kWavesM) == 0);
    static_assert(kTileM * kSlab / 8 % kThreads == 0, "lanes share the activations evenly");
    static_assert(kMatrices * kRowTiles % kWaves == 0,
                  "waves share W evenly: a branch would spill");

    static constexpr int kXHalves = kTileM * kPitch;  // of one slab in LDS
    static constexpr int kWHalves = kMatrices * kTileN * kPitch;

    DEVICE static int wave() { return kWaves == 1 ? 0 : wave_id(); }
    DEVICE static int first_row() { return wave() / kWavesN * (kTilesM * 16); }
    DEVICE static int first_col() { return wave() % kWavesN * (kTilesN * 16); }
};

template <class Shape>
struct GemmSums {
    MatC c[Shape::kMatrices][Shape::kTilesM][Shape::kTilesN];
};

// This wave's share of W: of each matrix [rows / 32][kCols / tile][tile bytes] a group takes row
// tiles first, first + 1, ...; those behind `last` are read as that.
template <class Shape, class Quant>
struct WeightTiles {
    static constexpr int kSteps = Quant::kTileElems / kSlab;
    static constexpr int kTiles = Shape::kCols / Quant::kTileElems;
    static_assert(Shape::kCols % Quant::kTileElems == 0, "a row is a whole number of tiles");

    const u8* from[Shape::kStaged];
    WeightStage<Quant> stage[Shape::kStaged];

    DEVICE WeightTiles(const u8* const (&w)[Shape::kMatrices], int first, int last) {
        UNROLL
        for (int i = 0; i < Shape::kStaged; ++i) {
            const int at = Shape::wave() * Shape::kStaged + i;
            const u8* matrix = w[0];
            if constexpr (Shape::kMatrices == 2) matrix = at < Shape::kRowTiles ? w[0] : w[1];
            from[i] = matrix +
                      i64(imin(first + at % Shape::kRowTiles, last)) * kTiles * Quant::kTileBytes;
        }
    }
    // `step`: slab modulo kSteps, known to the compiler.
    DEVICE void fetch(int slab, int step) {
        const i64 tile = i64(imin(slab / kSteps, kTiles - 1)) * Quant::kTileBytes;
        UNROLL
        for (int i = 0; i < Shape::kStaged; ++i) stage[i].fetch(from[i] + tile, step);
    }
    DEVICE void store(u16* lds) const {
        UNROLL
        for (int i = 0; i < Shape::kStaged; ++i) {
            const HalfWeights h = stage[i].halves();
            u16* row =
                lds + ((Shape::wave() * Shape::kStaged + i) * kTileRows + lane_id()) * kPitch;
            UNROLL
            for (int j = 0; j < 4; ++j)
                store128(row + 8 * j, {h.v[4 * j], h.v[4 * j + 1], h.v[4 * j + 2], h.v[4 * j + 3]});
        }
    }
};

// This lane's share of the activations.
template <class Shape>
struct ActivationTiles {
    const u8* x;
    u32 from[Shape::kChunks];
    Copy16 copies[Shape::kChunks];

    // `row_of(m)`: which half row is row m of the tile.
    template <class RowOf>
    DEVICE ActivationTiles(const u8* rows, RowOf row_of) : x(rows) {
        UNROLL
        for (int i = 0; i < Shape::kChunks; ++i) {
            const int chunk = thread_id() + i * Shape::kThreads;
            from[i] =
                u32(row_of(chunk / 4)) * u32(kHalfRowBytes<Shape::kCols>) + u32(chunk % 4 * 16);
        }
    }
    DEVICE static u16* place(u16* lds, int i) {
        const int chunk = thread_id() + i * Shape::kThreads;
        return lds + chunk / 4 * kPitch + chunk % 4 * 8;
    }
    DEVICE void fetch(int slab, u16* lds) {
        const u8* at = x + imin(slab, Shape::kSlabs - 1) * (kSlab * 2);
        UNROLL
        for (int i = 0; i < Shape::kChunks; ++i) copies[i].start(place(lds, i), at + from[i]);
    }
    DEVICE void store(u16* lds) const {
        UNROLL
        for (int i = 0; i < Shape::kChunks; ++i) copies[i].finish(place(lds, i));
        copies_finish();
    }
};

template <class Shape>
DEVICE inline void multiply_slab(GemmSums<Shape>& sums, const u16* x, const u16* w) {
    x += Shape::first_row() * kPitch;
    w += Shape::first_col() * kPitch;
    UNROLL
    for (int k = 0; k < kSlab; k += 16) {
        MatAB b[Shape::kMatrices][Shape::kTilesN];
        UNROLL
        for (int m = 0; m < Shape::kMatrices; ++m) {
            UNROLL
            for (int j = 0; j < Shape::kTilesN; ++j)
                b[m][j] = mat_load(w + (m * Shape::kTileN + 16 * j) * kPitch + k, kPitch);
        }
        UNROLL
        for (int i = 0; i < Shape::kTilesM; ++i) {
            const MatAB a = mat_load(x + 16 * i * kPitch + k, kPitch);
            UNROLL
            for (int m = 0; m < Shape::kMatrices; ++m) {
                UNROLL
                for (int j = 0; j < Shape::kTilesN; ++j) mat_mul(sums.c[m][i][j], a, b[m][j]);
            }
        }
    }
}

// sums = activations x W^T, still without the factors (gemm_finish). `x_lds` is [2][kXHalves],
// `w_lds` [2][kWHalves].
template <class Shape, class Quant, class RowOf>
DEVICE inline void gemm_tile(GemmSums<Shape>& sums, const u8* x, RowOf row_of, u16* x_lds,
                             WeightTiles<Shape, Quant>& weights, u16* w_lds) {
    constexpr int kSteps = Quant::kTileElems / kSlab;
    UNROLL
    for (int m = 0; m < Shape::kMatrices; ++m) {
        UNROLL
        for (int i = 0; i < Shape::kTilesM; ++i) {
            UNROLL
            for (int j = 0; j < Shape::kTilesN; ++j) mat_clear(sums.c[m][i][j]);
        }
    }
    ActivationTiles<Shape> activations(x, row_of);
    activations.fetch(0, x_lds);
    weights.fetch(0, 0);
    activations.store(x_lds);
    weights.store(w_lds);
    barrier();
    int current = 0;
    const int slabs =
        pinned(Shape::kSlabs);  // a loop even where one round would do: products stay in it
    for (int slab = 0; slab < slabs; slab += kSteps) {
        // Steps within a tile of W are unrolled, so that what follows from them is constant.
        UNROLL
        for (int step = 0; step < kSteps; ++step) {
            // Behind the end the last slab comes again, and nobody reads it. Pinned: several slabs
            // on their way at once would spill.
            const int next = pinned(slab + step + 1);
            u16* next_x = x_lds + (current ^ 1) * Shape::kXHalves;
            activations.fetch(next, next_x);
            weights.fetch(next, (step + 1) % kSteps);
            loads_start();
            multiply_slab(sums, x_lds + current * Shape::kXHalves,
                          w_lds + current * Shape::kWHalves);
            current ^= 1;
            activations.store(next_x);
            weights.store(w_lds + current * Shape::kWHalves);
            barrier();
        }
    }
}

// finish(row, col, sum...) for each element of the tile that this lane holds; sums are those of
// the matrices without the row's scale.
template <class Shape, class Finish>
DEVICE inline void gemm_finish(GemmSums<Shape>& sums, Finish finish) {
    UNROLL
    for (int i = 0; i < Shape::kTilesM; ++i) {
        UNROLL
        for (int j = 0; j < Shape::kTilesN; ++j) {
            const int row = Shape::first_row() + 16 * i, col = Shape::first_col() + 16 * j;
            if constexpr (Shape::kMatrices == 1) {
                mat_visit(sums.c[0][i][j], [&](MatPlace at, float& v) {
                    finish(row + at.row, col + at.col, v * (1.0f / kWeightScale));
                });
            } else {
                float second[8];
                int n = 0;
                mat_visit(sums.c[1][i][j], [&](MatPlace, float& v) { second[n++] = v; });
                n = 0;
                mat_visit(sums.c[0][i][j], [&](MatPlace at, float& v) {
                    finish(row + at.row, col + at.col, v * (1.0f / kWeightScale),
                           second[n++] * (1.0f / kWeightScale));
                });
            }
        }
    }
}
