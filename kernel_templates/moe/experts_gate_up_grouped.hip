// y = silu(gate x) * up x for the slots of each chunk, which share one pass over an expert's
// weights. Launch: [kRows / 32, chunks]; a group owns 32 rows of one expert, its waves share K.
// LDS: 2 kTokens floats a lane where kWaves > 1.
#include "elementwise/xblock.h"
#include "moe/expert_chunk.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Gate = Q4_K;
using Up = Q4_K;
constexpr int kUsed = 8;
constexpr int kRows = 512;
constexpr int kCols = 2048;
constexpr int kTokens = 8;
constexpr bool kQuantisedInput = true;
constexpr bool kQuantisedOutput = true;
constexpr int kWaves = 4;
#endif

static_assert(kRows % kTileRows == 0, "an expert's matrix is a whole number of tiles");

extern "C" KERNEL(kWaves* kWaveSize) void experts_gate_up_grouped(
    const int* __restrict__ order,           // [rows * kUsed]
    const ExpertChunk* __restrict__ chunks,  // [chunks]
    const u8* __restrict__ gate,             // [experts, kRows / 32, kCols / tile, tile bytes]
    const u8* __restrict__ up,               // [experts, kRows / 32, kCols / tile, tile bytes]
    const void* INPUT x,                     // [rows, kCols / 32] XBlock or [rows, kCols] float
    void* __restrict__ y) {                  // [slots, kRows / 32] XBlock or [slots, kRows] float
    SHARED float part[kWaves][2 * kTokens][kWaveSize];
    const ExpertChunk chunk = chunks[group_id_y()];
    if (chunk.expert < 0) return;
    const ChunkSlots<kTokens> slots(chunk, order);
    const auto input = slots.of<kQuantisedInput, kUsed>(x);
    const int tile = chunk.expert * (kRows / kTileRows) + group_id();
    float g[kTokens], u[kTokens];
    row_tile_dot<Gate, kCols, kTokens, kWaves>(gate, tile, input, g);
    row_tile_dot<Up, kCols, kTokens, kWaves>(up, tile, input, u);

    const auto store = [&](int t, float gate_sum, float up_sum) {
        if (t >= slots.count) return;
        const float value = silu(gate_sum) * up_sum;
        const int slot = order[chunk.first + t];
        if constexpr (kQuantisedOutput)
            quantise_wave(value, static_cast<XBlock*>(y) + i64(slot) * (kRows / 32) + group_id());
        else
            static_cast<float*>(y)[i64(slot) * kRows + group_id() * kTileRows + lane_id()] = value;
    };
    if constexpr (kWaves == 1) {
        UNROLL
        for (int t = 0; t < kTokens; ++t) store(t, g[t], u[t]);
    } else {
        UNROLL
        for (int t = 0; t < kTokens; ++t) {
            part[wave_id()][2 * t][lane_id()] = g[t];
            part[wave_id()][2 * t + 1][lane_id()] = u[t];
        }
        barrier();
        for (int t = wave_id(); t < kTokens; t += kWaves) {
            float gate_sum = 0.0f, up_sum = 0.0f;
            UNROLL
            for (int w = 0; w < kWaves; ++w) {
                gate_sum += part[w][2 * t][lane_id()];
                up_sum += part[w][2 * t + 1][lane_id()];
            }
            store(t, gate_sum, up_sum);
        }
    }
}
EXPORT_KERNEL(experts_gate_up_grouped)
