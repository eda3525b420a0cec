// The sum of moe_down for many rows, from what moe_down_products left: the same additions in the
// same order. Launch: [ceil(kRows / (32 kWaves)), rows]; a wave owns 32 rows of h.
#include "elementwise/step_state.h"
#include "moe/experts_of_token.h"

#ifndef HETUNE_SPEC
constexpr int kUsed = 8;
constexpr int kRows = 2048;
constexpr bool kShared = true;
constexpr bool kSharedGate = true;
constexpr bool kNormed = true;
constexpr bool kQuantisedOutput = true;
constexpr int kWaves = 4;
#endif

constexpr int kSlots = kUsed + (kShared ? 1 : 0);
static_assert(kRows % kTileRows == 0, "a tile of rows is one block of the output");

extern "C" KERNEL(kWaves* kWaveSize) void moe_down_sum(
    const StepState* INPUT step,
    const float* INPUT products,    // [rows, kSlots, kRows]
    const float* INPUT shares,      // [rows, kUsed + 1]: with kSharedGate that of the shared expert
    const float* residual,          // [rows, kRows]
    const float* INPUT norm,        // [kRows] where kNormed
    float* h,                       // [rows, kRows]; may be residual
    void* __restrict__ next,        // [rows, kRows / 32] XBlock or [rows, kRows] float
    float* __restrict__ squares) {  // [rows, kRows / 32] where kNormed
    begin();
    const int token = group_id_y();
    const int tile = group_id() * kWaves + (kWaves == 1 ? 0 : wave_id());
    if (token >= step->rows || tile >= kRows / kTileRows) return;
    const float* const own = products + i64(token) * kSlots * kRows + tile * kTileRows + lane_id();
    finish_experts<kUsed, kShared, kSharedGate, kRows, kNormed, kQuantisedOutput>(
        [&](int k) { return own[k * kRows]; }, token, tile, shares, residual, norm, h, next,
        squares);
}
EXPORT_KERNEL(moe_down_sum)
