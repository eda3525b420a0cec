// y = down x for the slots of each chunk, which share one pass over an expert's weights;
// experts_sum weights and adds a token's slots.
// Launch: [kRows / 32, chunks]; a group owns 32 rows of one expert, its waves share K.
// LDS: kTokens floats a lane where kWaves > 1.
#include "moe/expert_chunk.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kRows = 2048;
constexpr int kCols = 512;
constexpr int kTokens = 8;
constexpr bool kQuantisedInput = true;
constexpr int kWaves = 2;
#endif

static_assert(kRows % kTileRows == 0, "an expert's matrix is a whole number of tiles");

extern "C" KERNEL(kWaves* kWaveSize) void experts_down_grouped(
    const int* __restrict__ order,           // [slots]
    const ExpertChunk* __restrict__ chunks,  // [chunks]
    const u8* __restrict__ w,                // [experts, kRows / 32, kCols / tile, tile bytes]
    const void* INPUT x,                     // [slots, kCols / 32] XBlock or [slots, kCols] float
    float* __restrict__ y) {                 // [slots, kRows]
    SHARED float part[kWaves][kTokens][kWaveSize];
    const ExpertChunk chunk = chunks[group_id_y()];
    if (chunk.expert < 0) return;
    const ChunkSlots<kTokens> slots(chunk, order);
    const int tile = chunk.expert * (kRows / kTileRows) + group_id();
    float acc[kTokens];
    row_tile_dot<Quant, kCols, kTokens, kWaves>(w, tile, slots.of<kQuantisedInput, 1>(x), acc);
    sum_waves<kTokens, kWaves>(acc, part, [&](int t, float sum) {
        if (t >= slots.count) return;
        const int slot = order[chunk.first + t];
        y[i64(slot) * kRows + group_id() * kTileRows + lane_id()] = sum;
    });
}
EXPORT_KERNEL(experts_down_grouped)
