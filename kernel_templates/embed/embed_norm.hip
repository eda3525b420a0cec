// embed, and the first layer's input: h * norm weight without the norm's factor, and the squares
// that the factor follows from (linear/fused.h). Launch: [rows]; a lane makes 32 values at a time.
#include "elementwise/step_state.h"
#include "linear/fused.h"

#ifndef HETUNE_SPEC
#include "quant/q4_k.h"
using Quant = Q4_K;
constexpr int kRows = 151936;
constexpr int kCols = 4096;
constexpr bool kQuantisedOutput = true;
constexpr int kWaves = 4;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void embed_norm(
    const StepState* INPUT step,
    const u8* __restrict__ w,       // [kRows / 32, kCols / tile, tile bytes]
    const i32* INPUT tokens,        // [rows], each in 0 .. kRows - 1
    const float* INPUT norm,        // [kCols]
    float* __restrict__ h,          // [rows, kCols]
    void* __restrict__ next,        // [rows, kCols / 32] XBlock or [rows, kCols] float
    float* __restrict__ squares) {  // [rows, kCols / 32]
    begin();
    constexpr int kSteps = Quant::kTileElems / kStepElems;
    constexpr int kBlocks = kCols / kStepElems;
    if (group_id() >= step->rows) return;
    const int token = imin(imax(tokens[group_id()], 0), kRows - 1);
    const u8* row = w + i64(token / kTileRows) * (kCols / Quant::kTileElems) * Quant::kTileBytes;
    for (int k = thread_id(); k < kBlocks; k += kWaves * kWaveSize) {
        const u8* tile = row + i64(k / kSteps) * Quant::kTileBytes;
        const i64 block = i64(group_id()) * kBlocks + k;
        float values[32];
        load_floats<Quant>(tile, token % kTileRows, k % kSteps, values);
        float square = 0.0f;
        UNROLL
        for (int i = 0; i < 32; ++i) {
            h[block * 32 + i] = values[i];
            square = fused_mul_add(values[i], values[i], square);
            values[i] *= norm[k * 32 + i];
        }
        squares[block] = square;
        if constexpr (kQuantisedOutput) {
            quantise_lane(values, static_cast<XBlock*>(next) + block);
        } else {
            UNROLL
            for (int i = 0; i < 32; ++i) static_cast<float*>(next)[block * 32 + i] = values[i];
        }
    }
}
EXPORT_KERNEL(embed_norm)
