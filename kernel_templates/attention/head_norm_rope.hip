// Per head: RMSNorm with weight (where kNorm), then rotary embedding (where kRotary > 0).
// Launch: [kHeads, rows]; a wave owns a head. LDS: one head. y may be x.
//
// Angles: position times turns per position, in turns; the table's two floats per pair and an
// exact product keep them right to 1e-7 turns at any context length.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kHeads = 32;
constexpr int kHeadSize = 128;
constexpr int kStride = 4096;
constexpr bool kNorm = true;
constexpr float kEps = 1e-6f;
constexpr int kRotary = 128;
constexpr bool kInterleaved = false;
constexpr float kMagnitude = 1.0f;
#endif

static_assert(kRotary <= kHeadSize && kRotary % 2 == 0);

extern "C" KERNEL(kWaveSize) void head_norm_rope(
    const StepState* __restrict__ step,
    const float* x,                     // [rows, kStride], heads from the first column on
    const float* __restrict__ w,        // [kHeadSize] where kNorm
    const float* __restrict__ turns,    // [kRotary / 2][2] where kRotary > 0
    float* y) {                         // [rows, kHeads * kHeadSize]
    SHARED float head[kHeadSize];
    const int row = group_id_y();
    if (row >= step->rows) return;
    const float* from = x + i64(row) * kStride + group_id() * kHeadSize;
    float* to = y + (i64(row) * kHeads + group_id()) * kHeadSize;
    const int lane = lane_id();

    float factor = 1.0f;
    if constexpr (kNorm) {
        float squares = 0.0f;
        for (int i = lane; i < kHeadSize; i += kWaveSize) squares += from[i] * from[i];
        factor = fast_rsqrt(wave_sum(squares) * (1.0f / kHeadSize) + kEps);
    }
    for (int i = lane; i < kHeadSize; i += kWaveSize) {
        float v = from[i] * factor;
        if constexpr (kNorm) v *= w[i];
        head[i] = v;
    }
    wave_barrier();
    const float position = float(step->position + row);
    for (int pair = lane; pair < kRotary / 2; pair += kWaveSize) {
        const float product = position * turns[2 * pair];
        const float rest = fused_mul_add(position, turns[2 * pair], -product);
        float sine, cosine;
        sincos_turns(product - round_near(product) +
                         fused_mul_add(position, turns[2 * pair + 1], rest),
                     sine, cosine);
        const int a = kInterleaved ? 2 * pair : pair;
        const int b = kInterleaved ? 2 * pair + 1 : pair + kRotary / 2;
        to[a] = kMagnitude * (head[a] * cosine - head[b] * sine);
        to[b] = kMagnitude * (head[b] * cosine + head[a] * sine);
    }
    for (int i = kRotary + lane; i < kHeadSize; i += kWaveSize) to[i] = head[i];
}
EXPORT_KERNEL(head_norm_rope)
