// y = silu(gate x) * up x of the experts that each token uses, and of the shared one.
// Launch: [rows of the larger kind of expert / 32, kUsed + (kSharedRows > 0), rows]; a group owns
// 32 rows of one expert for up to kTokens tokens that use it (expert_rows.h), its waves share K.
// LDS: two floats a lane and token where kWaves > 1.
#include "elementwise/step_state.h"
#include "linear/fused.h"
#include "moe/expert_rows.h"

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
constexpr int kTokens = 1;
constexpr bool kQuantisedInput = true;
constexpr bool kQuantisedOutput = true;
constexpr bool kNormed = true;
constexpr float kEps = 1e-6f;
constexpr int kWaves = 8;
#endif

static_assert(kRows % kTileRows == 0 && kSharedRows % kTileRows == 0,
              "an expert's matrix is a whole number of tiles");

constexpr int kRowWidth = kUsed * kRows + kSharedRows;  // of y
using Part = float[kWaves][2 * kTokens][kWaveSize];

// The products of one tile of an expert's rows; `own` has kCount of them.
template <class G, class U, int kCount>
DEVICE inline void product(const u8* gate, const u8* up, int tile, const void* x,
                           const ExpertRows<kTokens>& own, const float* squares, void* y, int block,
                           Part& part) {
    GatheredActivations<kQuantisedInput, kCount> input{x, {}, own.count};
    UNROLL
    for (int t = 0; t < kCount; ++t) input.rows[t] = own.rows[t];
    float g[kCount], u[kCount];
    row_tile_dots<G, U, kCols, kCount, kWaves>(gate, up, tile, input, g, u);
    const auto finish = [&](int t, float gate_sum, float up_sum) {
        if (t >= own.count) return;
        const int row = pick(own.rows, t);
        if constexpr (kNormed) {
            const float factor = norm_factor<kCols>(squares + i64(row) * (kCols / 32), kEps);
            gate_sum *= factor;
            up_sum *= factor;
        }
        store_block<kQuantisedOutput>(
            silu(gate_sum) * up_sum, y,
            i64(row) * (kRowWidth / 32) + pick(own.slots, t) * (kRows / 32) + block);
    };
    if constexpr (kWaves == 1) {
        UNROLL
        for (int t = 0; t < kCount; ++t) finish(t, g[t], u[t]);
    } else {
        UNROLL
        for (int t = 0; t < kCount; ++t) {
            part[wave_id()][2 * t][lane_id()] = g[t];
            part[wave_id()][2 * t + 1][lane_id()] = u[t];
        }
        barrier();
        for (int t = wave_id(); t < kCount; t += kWaves) {
            float gate_sum = 0.0f, up_sum = 0.0f;
            UNROLL
            for (int w = 0; w < kWaves; ++w) {
                gate_sum += part[w][2 * t][lane_id()];
                up_sum += part[w][2 * t + 1][lane_id()];
            }
            finish(t, gate_sum, up_sum);
        }
    }
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
    SHARED Part part;
    const int row = group_id_z(), rows = step->rows;
    if (row >= rows) return;
    const int slot = group_id_y();
    const int tile = group_id();
    if (kSharedRows == 0 || slot < kUsed) {
        if (tile >= kRows / kTileRows) return;
        const auto own = expert_rows<kUsed, kTokens>(ids, rows, row, slot);
        if (own.count == 0) return;
        const int of_expert = ids[row * kUsed + slot] * (kRows / kTileRows) + tile;
        for_count<kTokens>(own.count, [&]<int kCount>() {
            product<Gate, Up, kCount>(gate, up, of_expert, x, own, squares, y, tile, part);
        });
    } else {
        if (tile >= kSharedRows / kTileRows) return;
        const auto own = rows_of_all<kTokens>(rows, row, kUsed);
        if (own.count == 0) return;
        for_count<kTokens>(own.count, [&]<int kCount>() {
            product<SharedGate, SharedUp, kCount>(shared_gate, shared_up, tile, x, own, squares, y,
                                                  tile, part);
        });
    }
}
EXPORT_KERNEL(moe_gate_up)
