// The experts of each token: router logits, the shared expert's gate, and the choice, in one
// launch. Launch: [ceil(kExperts / 32) + kShared, kSplits, rows]; a group has 32 experts' logits,
// or the gate, over a share of the columns, and a row's group that is last to finish adds up and
// chooses. No group waits for another. LDS: the share of x, and a float a lane for each wave.
#include "elementwise/step_state.h"
#include "linear/fused.h"
#include "moe/choose_experts.h"

#ifndef HETUNE_SPEC
#include "quant/f32.h"
using Quant = F32;
constexpr int kExperts = 256;
constexpr int kUsed = 8;
constexpr bool kRenormalise = true;
constexpr bool kShared = true;
constexpr int kCols = 2048;
constexpr bool kNormed = true;
constexpr float kEps = 1e-6f;
constexpr int kSplits = 8;
constexpr int kWaves = 8;
#endif

// Where the first row of F32's tiles has a column (quant/f32.h), in floats.
DEVICE inline int f32_tile_place(int column) {
    return column / 32 * 1024 + column % 32 / 4 * 128 + column % 4;
}

constexpr int kThreads = kWaves * kWaveSize;
constexpr int kShare = kCols / kSplits;
constexpr int kTiles = (kExperts + kTileRows - 1) / kTileRows;
constexpr int kLogits = kTiles * kTileRows + 1;  // the last is the gate's
static_assert(kCols % kSplits == 0 && kShare % Quant::kTileElems == 0,
              "a share is a whole number of tiles");

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void moe_route(
    const StepState* INPUT step,
    const float* INPUT x_rows,     // [rows, kCols]; where kNormed before its norm
    const float* INPUT norm,       // [kCols] where kNormed
    const float* INPUT squares,    // [rows, kCols / 32] where kNormed
    const u8* __restrict__ w,      // [kTiles, kCols / tile, tile bytes]
    const float* INPUT gate,       // where kShared: one row in F32's tiles
    float* parts,                  // [rows, kSplits, kLogits]
    int* counters,                 // [rows], 0 between launches
    int* __restrict__ ids,         // [rows, kUsed]
    float* __restrict__ shares) {  // [rows, kUsed + 1]: the last is that of the shared expert
    start_next();
    constexpr int kShareBytes = kShare / Quant::kTileElems * Quant::kTileBytes;
    if (group_id() < kTiles)
        for (int at = thread_id() * 128; at < kShareBytes; at += kThreads * 128)
            prefetch(w + (i64(group_id()) * kSplits + group_id_y()) * kShareBytes + at);
    await_inputs();
    SHARED float own[kShare];
    SHARED float part[kWaves][1][kWaveSize];
    SHARED float sums[kWaves];
    SHARED int is_last;
    const int row = group_id_z();
    if (row >= step->rows) return;
    const float* const x = x_rows + i64(row) * kCols;
    int* const counter = counters + row;
    const int tile = group_id();
    const int split = group_id_y();
    const int wave = kWaves == 1 ? 0 : wave_id();
    for (int i = thread_id(); i < kShare; i += kThreads) {
        const int column = split * kShare + i;
        own[i] = kNormed ? x[column] * norm[column] : x[column];
    }
    barrier();
    float* const of_row = parts + i64(row) * kSplits * kLogits;
    float* to = of_row + split * kLogits;
    if (!kShared || tile < kTiles) {
        float acc[1];
        const u8* rows = w + (i64(tile) * kSplits + split) * kShareBytes;
        row_tile_dot<Quant, kShare, 1, kWaves>(rows, 0, Activations<false>{own, 0, 0}, acc);
        sum_waves<1, kWaves>(acc, part,
                             [&](int, float sum) { to[tile * kTileRows + lane_id()] = sum; });
    } else {
        float sum = 0.0f;
        for (int i = thread_id(); i < kShare; i += kThreads)
            sum = fused_mul_add(own[i], gate[f32_tile_place(split * kShare + i)], sum);
        sum = group_sum<kWaves>(sum, sums);
        if (thread_id() == 0) to[kLogits - 1] = sum;
    }

    constexpr int kGroups = (kTiles + (kShared ? 1 : 0)) * kSplits;
    fence_device();
    barrier();
    if (thread_id() == 0) {
        is_last = atomic_add_device(counter, 1) == kGroups - 1;
        if (is_last) *counter = 0;
    }
    barrier();
    if (!is_last || wave != 0) return;
    fence_device();
    float factor = 1.0f;
    if constexpr (kNormed) factor = norm_factor<kCols>(squares + i64(row) * (kCols / 32), kEps);
    const auto logit_of = [&](int at) {
        float sum = 0.0f;
        UNROLL
        for (int s = 0; s < kSplits; ++s) sum += of_row[s * kLogits + at];
        return sum * factor;
    };
    if constexpr (kShared) {
        const float share = sigmoid(logit_of(kLogits - 1));
        if (lane_id() == 0) shares[row * (kUsed + 1) + kUsed] = share;
    }
    choose_experts<kExperts, kUsed, kRenormalise>(logit_of, ids + row * kUsed,
                                                  shares + row * (kUsed + 1));
}
EXPORT_KERNEL(moe_route)
