// One head, by one wave: RMSNorm with weight, then rotary embedding; either may be absent.
//
// Angles: position times turns per position, in turns; the table's two floats per pair and an
// exact product keep them right to 1e-7 turns at any context length.
#pragma once

#include "quant/row_values.h"

// From `from` to `head`, LDS of this wave, [kHeadSize]. All lanes call it; ends behind a
// wave_barrier, or where only the first lane has done anything (kLanesInTurn).
template <int kHeadSize, bool kNorm, int kRotary, bool kInterleaved>
DEVICE inline void norm_rope(const float* from, const float* w, float eps, const float* turns,
                             float magnitude, float position, float* head) {
    static_assert(kRotary <= kHeadSize && kRotary % 2 == 0);
    if (is_idle_lane()) return;
    const int lane = lane_start();
    float factor = 1.0f;
    if constexpr (kNorm) {
        float squares = 0.0f;
        for (int i = lane; i < kHeadSize; i += kLaneStride) squares += from[i] * from[i];
        factor =
            fast_rsqrt((kLanesInTurn ? squares : wave_sum(squares)) * (1.0f / kHeadSize) + eps);
    }
    for (int i = lane; i < kHeadSize; i += kLaneStride) {
        float v = from[i] * factor;
        if constexpr (kNorm) v *= w[i];
        head[i] = v;
    }
    if constexpr (!kLanesInTurn) wave_barrier();
    constexpr int kPairs = kRotary / 2;
    for (int base = 0; base < kPairs; base += kLaneStride) {
        const int pair = imin(base + lane, kPairs - 1);  // all lanes stay active
        const float product = position * turns[2 * pair];
        const float rest = fused_mul_add(position, turns[2 * pair], -product);
        float sine, cosine;
        sincos_turns(
            product - round_near(product) + fused_mul_add(position, turns[2 * pair + 1], rest),
            sine, cosine);
        const int a = kInterleaved ? 2 * pair : pair;
        const int b = kInterleaved ? 2 * pair + 1 : pair + kPairs;
        const float x = settled(head[a]), y = settled(head[b]);
        if (base + lane < kPairs) {
            head[a] = magnitude * (x * cosine - y * sine);
            head[b] = magnitude * (y * cosine + x * sine);
        }
    }
    if constexpr (!kLanesInTurn) wave_barrier();
}
