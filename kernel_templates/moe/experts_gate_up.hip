// y = silu(gate x) * up x (gate x times a factor of the expert) of the experts that each token
// uses, whose numbers are read here. Launch: [kRows / 32, kUsed, rows]; a group owns 32 rows of one
// expert, its waves share K. LDS: two floats a lane where kWaves > 1.
#include "elementwise/step_state.h"
#include "elementwise/xblock.h"
#include "linear/row_tile.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Gate = Q4_K;
using Up = Q4_K;
constexpr int kUsed = 8;
constexpr int kRows = 512;
constexpr int kCols = 2048;
constexpr bool kQuantisedInput = true;
constexpr bool kQuantisedOutput = true;
constexpr bool kGateScale = false;
constexpr int kWaves = 4;
#endif

static_assert(kRows % kTileRows == 0, "an expert's matrix is a whole number of tiles");

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void experts_gate_up(
    const StepState* __restrict__ step,
    const int* __restrict__ ids,           // [rows, kUsed]
    const u8* __restrict__ gate,           // [experts, kRows / 32, kCols / tile, tile bytes]
    const u8* __restrict__ up,             // [experts, kRows / 32, kCols / tile, tile bytes]
    const float* __restrict__ gate_scale,  // [experts]
    const void* INPUT x,                   // [rows, kCols / 32] XBlock or [rows, kCols] float
    void* __restrict__ y) {  // [rows, kUsed, kRows / 32] XBlock or [rows, kUsed, kRows] float
    SHARED float part[kWaves][2][kWaveSize];
    const int row = group_id_z();
    if (row >= step->rows) return;
    const int slot = row * kUsed + group_id_y();
    const int tile = ids[slot] * (kRows / kTileRows) + group_id();
    const Activations<kQuantisedInput> input{x, row, row};
    float g[1], u[1];
    row_tile_dots<Gate, Up, kCols, 1, kWaves>(gate, up, tile, input, g, u);
    if constexpr (kWaves > 1) {
        part[wave_id()][0][lane_id()] = g[0];
        part[wave_id()][1][lane_id()] = u[0];
        barrier();
        if (wave_id() != 0) return;
        g[0] = u[0] = 0.0f;
        UNROLL
        for (int w = 0; w < kWaves; ++w) {
            g[0] += part[w][0][lane_id()];
            u[0] += part[w][1][lane_id()];
        }
    }
    if constexpr (kGateScale) g[0] *= gate_scale[ids[slot]];
    const float value = silu(g[0]) * u[0];
    if constexpr (kQuantisedOutput)
        quantise_wave(value, static_cast<XBlock*>(y) + i64(slot) * (kRows / 32) + group_id());
    else
        static_cast<float*>(y)[i64(slot) * kRows + group_id() * kTileRows + lane_id()] = value;
}
EXPORT_KERNEL(experts_gate_up)
