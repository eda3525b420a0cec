// y = silu(Wg x) * (Wu x). Launch: [ceil(kRows / 32), ceil(rows / kTokens)]. LDS: twice that of
// gemv.
#include "elementwise/step_state.h"
#include "linear/fused.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Gate = Q4_K;
using Up = Q4_K;
constexpr int kRows = 12288;
constexpr int kCols = 4096;
constexpr int kTokens = 1;
constexpr bool kMatrix = false;
constexpr bool kQuantisedInput = true;
constexpr bool kTiledInput = false;
constexpr bool kQuantisedOutput = true;
constexpr bool kNormed = true;
constexpr float kEps = 1e-6f;
constexpr int kWaves = 4;
#endif

static_assert(kRows % kTileRows == 0, "a tile of rows is one block of the output");

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void gemv_swiglu(
    const StepState* INPUT step,
    const u8* __restrict__ gate,  // [kRows / 32, kCols / tile, tile bytes]
    const u8* __restrict__ up,    // the same
    const void* INPUT x,          // [rows, kCols / 32] XBlock, XTile or [rows, kCols] float
    const float* INPUT squares,   // [rows, kCols / 32] where kNormed
    void* __restrict__ y) {       // [rows, kRows / 32] XBlock or [rows, kRows] float
    start_next();
    prefetch_row_tile<Gate, kCols, kWaves>(gate, group_id());
    prefetch_row_tile<Up, kCols, kWaves>(up, group_id());
    await_inputs();
    SHARED SumMemory<kTokens, kWaves, kMatrix> gate_part;
    SHARED SumMemory<kTokens, kWaves, kMatrix> up_part;
    const int rows = step->rows;
    const int first = group_id_y() * kTokens;
    if (first >= rows) return;
    const Activations<kQuantisedInput, kTiledInput> input{x, first, rows - 1};

    RowSums<kTokens, kMatrix> acc, up_acc;
    row_tile_products<Gate, Up, kCols>(gate, up, group_id(), input, gate_part, acc, up_part,
                                       up_acc);
    sum_waves(acc, gate_part, up_acc, up_part, [&](int t, RowValues g, const RowValues& u) {
        if (first + t >= rows) return;
        float factor = 1.0f;
        if constexpr (kNormed)
            factor = norm_factor<kCols>(squares + i64(first + t) * (kCols / 32), kEps);
        UNROLL
        for (int i = 0; i < kLaneRows; ++i)
            g.v[i] = kNormed ? silu(g.v[i] * factor) * (u.v[i] * factor) : silu(g.v[i]) * u.v[i];
        store_block<kQuantisedOutput>(g, y, i64(first + t) * (kRows / 32) + group_id());
    });
}
EXPORT_KERNEL(gemv_swiglu)
FIRST_LANE_ONLY(kWaves == 1 && !kMatrix)
