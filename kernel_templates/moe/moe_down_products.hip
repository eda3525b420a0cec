// The products of moe_down for many rows: down_k x_k of each token's experts and of the shared one.
// Rows that use the same expert share the reads of its weights, kTokens of them at a time
// (expert_rows.h); moe_down_sum adds a token's products up. A product is one wave's, as in
// moe_down. Launch: [ceil(kRows / (32 kWaves)), kUsed + (kSharedCols > 0), rows]; a wave owns 32
// rows.
#include "elementwise/step_state.h"
#include "linear/fused.h"
#include "moe/expert_rows.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
using Shared = Q4_K;
constexpr int kUsed = 8;
constexpr int kRows = 2048;
constexpr int kCols = 512;
constexpr int kSharedCols = 512;
constexpr int kTokens = 4;
constexpr bool kQuantisedInput = true;
constexpr int kWaves = 4;
#endif

constexpr int kSlots = kUsed + (kSharedCols > 0 ? 1 : 0);
constexpr int kRowElements = kUsed * kCols + kSharedCols;  // of x
constexpr int kOwnCols = kSharedCols > 0 ? kSharedCols : kCols;
static_assert(kRows % kTileRows == 0, "an expert's matrix is a whole number of tiles");
static_assert(kSharedCols % kCols == 0 && kUsed * kCols % kOwnCols == 0,
              "a token's experts are rows of x");

template <class Q, int kWidth, int kCount>
DEVICE inline void product(const u8* w, int tile, int of_expert, const void* x, int first,
                           const ExpertRows<kTokens>& own, float* products) {
    GatheredActivations<kQuantisedInput, kCount> input{x, {}, own.count};
    UNROLL
    for (int t = 0; t < kCount; ++t)
        input.rows[t] = own.rows[t] * (kRowElements / kWidth) + first + own.slots[t];
    float dot[kCount];
    row_tile_dot<Q, kWidth, kCount, 1>(w, of_expert, input, dot);
    UNROLL
    for (int t = 0; t < kCount; ++t)
        if (t < own.count)
            products[(i64(own.rows[t]) * kSlots + own.slots[t]) * kRows + tile * kTileRows +
                     lane_id()] = dot[t];
}

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void moe_down_products(
    const StepState* INPUT step,
    const int* INPUT ids,            // [rows, kUsed]
    const u8* __restrict__ w,        // [experts, kRows / 32, kCols / tile, tile bytes]
    const u8* __restrict__ shared,   // [kRows / 32, kSharedCols / tile, tile bytes]
    const void* INPUT x,             // [rows]: [kUsed, kCols], then [kSharedCols]; XBlock or float
    float* __restrict__ products) {  // [rows, kSlots, kRows]
    begin();
    const int row = group_id_z(), rows = step->rows;
    if (row >= rows) return;
    const int slot = group_id_y();
    const int tile = group_id() * kWaves + (kWaves == 1 ? 0 : wave_id());
    if (tile >= kRows / kTileRows) return;
    if (kSharedCols == 0 || slot < kUsed) {
        const auto own = expert_rows<kUsed, kTokens>(ids, rows, row, slot);
        if (own.count == 0) return;
        const int of_expert = ids[row * kUsed + slot] * (kRows / kTileRows) + tile;
        for_count<kTokens>(own.count, [&]<int kCount>() {
            product<Quant, kCols, kCount>(w, tile, of_expert, x, 0, own, products);
        });
    } else {
        const auto own = rows_of_all<kTokens>(rows, row, kUsed);
        if (own.count == 0) return;
        // x, seen in rows of the shared expert's width, has this many before a token's own.
        constexpr int kBefore = kUsed * kCols / kOwnCols - kUsed;
        for_count<kTokens>(own.count, [&]<int kCount>() {
            product<Shared, kOwnCols, kCount>(shared, tile, tile, x, kBefore, own, products);
        });
    }
}
EXPORT_KERNEL(moe_down_products)
