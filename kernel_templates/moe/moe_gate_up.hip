// y = silu(gate x) * up x of the experts that each token uses, and of the shared one.
// Launch: [rows of the larger kind of expert / 32, kUsed + (kSharedRows > 0), rows]; a group owns
// 32 rows of one expert, its waves share K. LDS: two floats a lane where kWaves > 1.
#include "elementwise/step_state.h"
#include "linear/fused.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Gate = Q4_K;
using Up = Q4_K;
using SharedGate = Q4_K;
using SharedUp = Q4_K;
constexpr int kUsed = 8;
constexpr int kRows = 512;
constexpr int kSharedRows = 512;
constexpr int kCols = 2048;
constexpr bool kQuantisedInput = true;
constexpr bool kQuantisedOutput = true;
constexpr bool kNormed = true;
constexpr float kEps = 1e-6f;
constexpr int kWaves = 8;
#endif

static_assert(kRows % kTileRows == 0 && kSharedRows % kTileRows == 0,
              "an expert's matrix is a whole number of tiles");

template <class G, class U>
DEVICE inline void product(const u8* gate, const u8* up, int tile, const void* x, int row,
                           const float* squares, void* y, i64 block, float (*part)[2][kWaveSize]) {
    const Activations<kQuantisedInput> input{x, row, row};
    float g[1], u[1];
    row_tile_dots<G, U, kCols, 1, kWaves>(gate, up, tile, input, g, u);
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
    if constexpr (kNormed) {
        const float factor = norm_factor<kCols>(squares + i64(row) * (kCols / 32), kEps);
        g[0] *= factor;
        u[0] *= factor;
    }
    store_block<kQuantisedOutput>(silu(g[0]) * u[0], y, block);
}

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void moe_gate_up(
    const StepState* INPUT step,
    const int* INPUT ids,                // [rows, kUsed]
    const u8* __restrict__ gate,         // [experts, kRows / 32, kCols / tile, tile bytes]
    const u8* __restrict__ up,           // the same
    const u8* __restrict__ shared_gate,  // [kSharedRows / 32, kCols / tile, tile bytes]
    const u8* __restrict__ shared_up,    // the same
    const void* INPUT x,                 // [rows, kCols / 32] XBlock or [rows, kCols] float
    const float* INPUT squares,          // [rows, kCols / 32] where kNormed
    void* __restrict__ y) {  // [rows]: [kUsed, kRows], and behind them [kSharedRows]; XBlock, float
    begin();
    SHARED float part[kWaves][2][kWaveSize];
    const int row = group_id_z();
    if (row >= step->rows) return;
    const i64 first_block = i64(row) * ((kUsed * kRows + kSharedRows) / 32);
    const int slot = group_id_y();
    const int tile = group_id();
    if (kSharedRows == 0 || slot < kUsed) {
        if (tile >= kRows / kTileRows) return;
        product<Gate, Up>(gate, up, ids[row * kUsed + slot] * (kRows / kTileRows) + tile, x, row,
                          squares, y, first_block + slot * (kRows / 32) + tile, part);
    } else {
        if (tile >= kSharedRows / kTileRows) return;
        product<SharedGate, SharedUp>(shared_gate, shared_up, tile, x, row, squares, y,
                                      first_block + kUsed * (kRows / 32) + tile, part);
    }
}
EXPORT_KERNEL(moe_gate_up)
