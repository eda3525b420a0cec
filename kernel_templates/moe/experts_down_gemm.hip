// y = down x for the slots of each chunk, on the matrix units; experts_sum weights and adds a
// token's slots.
// Launch: [ceil(kRows / kTileN), chunks]; a group owns kTileN rows of one expert's matrix and a
// chunk of up to kTileM slots. LDS: two slabs of both factors.
#include "linear/gemm_tile.h"
#include "moe/expert_chunk.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kRows = 2048;
constexpr int kCols = 512;
constexpr int kTileM = 32;
constexpr int kTileN = 128;
constexpr int kWaves = 4;
#endif

static_assert(kRows % kTileRows == 0, "an expert's matrix is a whole number of tiles");

extern "C" KERNEL_RESIDENT(kWaves* kWaveSize, kTileM >= 64 ? 2 : 3) void experts_down_gemm(
    const int* __restrict__ order,           // [slots]
    const ExpertChunk* __restrict__ chunks,  // [chunks]
    const u8* w,                             // [experts, kRows / 32, kCols / tile, tile bytes]
    const u8* x,                             // [slots][kHalfRowBytes<kCols>]
    float* __restrict__ y) {                 // [slots, kRows]
    using Shape = GemmShape<kCols, kTileM, kTileN, kWaves>;
    SHARED U4 x_lds[2 * Shape::kXHalves / 8];
    SHARED U4 w_lds[2 * Shape::kWHalves / 8];
    SHARED float scales[kTileM];
    SHARED int slots[kTileM];
    const ExpertChunk chunk = chunks[group_id_y()];
    if (chunk.expert < 0) return;
    const auto slot_of = [&](int m) { return order[imin(chunk.first + m, chunk.last)]; };
    for (int m = thread_id(); m < kTileM; m += Shape::kThreads) {
        slots[m] = slot_of(m);
        scales[m] = half_row_scale<kCols>(x + i64(slots[m]) * kHalfRowBytes<kCols>);
    }

    constexpr int kTiles = kRows / kTileRows;
    const int matrix = chunk.expert * kTiles;
    GemmSums<Shape> sums;
    WeightTiles<Shape, Quant> weights({w}, matrix + group_id() * Shape::kRowTiles,
                                      matrix + kTiles - 1);
    gemm_tile(sums, x, slot_of, reinterpret_cast<u16*>(x_lds), weights,
              reinterpret_cast<u16*>(w_lds));
    gemm_finish(sums, [&](int m, int n, float sum) {
        const int col = group_id() * kTileN + n, slot = settled(slots[m]);
        const float scale = settled(scales[m]);
        if (chunk.first + m > chunk.last || (kRows % kTileN != 0 && col >= kRows)) return;
        y[i64(slot) * kRows + col] = sum * scale;
    });
}
EXPORT_KERNEL(experts_down_gemm)
