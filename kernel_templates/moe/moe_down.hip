// h = sum of share_k * down_k x_k over the experts that each token uses and the shared one, in that
// order, + residual; and where kNormed also the next layer's input, as gemv_residual makes it.
// Launch: [kRows / 32, rows]; a group owns 32 rows of h, its waves take experts in turn.
// LDS: a float a lane for each expert.
#include "elementwise/step_state.h"
#include "moe/experts_of_token.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
using Shared = Q4_K;
constexpr int kUsed = 8;
constexpr int kRows = 2048;
constexpr int kCols = 512;
constexpr int kSharedCols = 512;
constexpr bool kSharedGate = true;
constexpr bool kQuantisedInput = true;
constexpr bool kNormed = true;
constexpr bool kQuantisedOutput = true;
constexpr int kWaves = 9;
#endif

constexpr int kSlots = kUsed + (kSharedCols > 0 ? 1 : 0);
static_assert(kRows % kTileRows == 0, "an expert's matrix is a whole number of tiles");

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void moe_down(
    const StepState* INPUT step,
    const int* INPUT ids,           // [rows, kUsed]
    const float* INPUT shares,      // [rows, kUsed + 1]: with kSharedGate that of the shared expert
    const u8* __restrict__ w,       // [experts, kRows / 32, kCols / tile, tile bytes]
    const u8* __restrict__ shared,  // [kRows / 32, kSharedCols / tile, tile bytes]
    const void* INPUT x_rows,       // [rows]: [kUsed, kCols], then [kSharedCols]; XBlock or float
    const float* residual,          // [rows, kRows]
    const float* INPUT norm,        // [kRows] where kNormed
    float* h,                       // [rows, kRows]; may be residual
    void* __restrict__ next,        // [rows, kRows / 32] XBlock or [rows, kRows] float
    float* __restrict__ squares) {  // [rows, kRows / 32] where kNormed
    begin();
    SHARED float part[kSlots][kWaveSize];
    const int token = group_id_y();
    if (token >= step->rows) return;
    constexpr i64 kRowElements = kUsed * kCols + kSharedCols;
    constexpr i64 kRowBytes =
        kQuantisedInput ? kRowElements / 32 * i64(sizeof(XBlock)) : kRowElements * 4;
    const void* const x = static_cast<const u8*>(x_rows) + token * kRowBytes;
    const int tile = group_id();
    const int wave = kWaves == 1 ? 0 : wave_id();
    for (int k = wave; k < kSlots; k += kWaves) {
        float dot[1];
        if (kSharedCols == 0 || k < kUsed) {
            row_tile_dot<Quant, kCols, 1, 1>(
                w, ids[token * kUsed + imin(k, kUsed - 1)] * (kRows / kTileRows) + tile,
                Activations<kQuantisedInput>{x, k, k}, dot);
        } else {
            constexpr int kBefore = kUsed * kCols;
            constexpr i64 kBytes =
                kQuantisedInput ? i64(kBefore / 32) * sizeof(XBlock) : i64(kBefore) * sizeof(float);
            row_tile_dot<Shared, (kSharedCols > 0 ? kSharedCols : kCols), 1, 1>(
                shared, tile,
                Activations<kQuantisedInput>{static_cast<const u8*>(x) + kBytes, 0, 0}, dot);
        }
        part[k][lane_id()] = dot[0];
    }
    barrier();
    if (wave != 0) return;
    finish_experts<kUsed, (kSharedCols > 0), kSharedGate, kRows, kNormed, kQuantisedOutput>(
        [&](int k) { return part[k][lane_id()]; }, token, tile, shares, residual, norm, h, next,
        squares);
}
EXPORT_KERNEL(moe_down)
