// Attention of one wave over some tiles of 32 keys, for the kGroup query heads of one KV head.
// Scores: a lane owns a key, so nothing crosses lanes. Values: a lane owns dimensions.
// Online softmax (Milakov and Gimelshein, arXiv 1805.02867): a running maximum and sum.
#pragma once

#include "attention/kv_type.h"

constexpr float kNoScore = -1e30f;  // instead of -infinity: differences of two stay finite

template <int kGroup, int kHeadSize>
struct SoftmaxState {
    static constexpr int kDims = (kHeadSize + 31) / 32;  // of a lane: lane, lane + 32, ...
    float peak[kGroup];
    float sum[kGroup];
    float out[kGroup][kDims];

    DEVICE void clear() {
        UNROLL for (int g = 0; g < kGroup; ++g) {
            peak[g] = kNoScore;
            sum[g] = 0.0f;
            UNROLL for (int i = 0; i < kDims; ++i) out[g][i] = 0.0f;
        }
    }
};

// Keys first .. first + 31, of which those up to `last` count. `weights` is LDS of this wave,
// [kGroup][32].
template <class Kv, int kGroup, int kHeadSize, int kKvHeads>
DEVICE inline void attend_tile(SoftmaxState<kGroup, kHeadSize>& state, const float* q,
                               float scale, const typename Kv::Element* k_cache,
                               const typename Kv::Element* v_cache, int kv_head, int first, int last,
                               float (*weights)[kWaveSize]) {
    constexpr i64 kRow = Kv::template kRowElements<kKvHeads, kHeadSize>;
    const auto* k_head = k_cache + kv_head * kHeadSize;
    const auto* v_head = v_cache + kv_head * kHeadSize;
    constexpr int kDims = SoftmaxState<kGroup, kHeadSize>::kDims;
    const int lane = lane_id();
    const int key = first + lane;
    const i64 own = i64(imin(key, last)) * kRow;  // clamped: no branch around loads
    const auto* k = k_head + own;
    const float k_scale = Kv::template scale<kKvHeads, kHeadSize>(k, kv_head) * scale;
    const float v_scale = Kv::template scale<kKvHeads, kHeadSize>(v_head + own, kv_head);
    float score[kGroup];
    UNROLL for (int g = 0; g < kGroup; ++g) score[g] = 0.0f;
    for (int d = 0; d < kHeadSize; d += Kv::kStep) {
        float part[Kv::kStep];
        Kv::load_step(k + d, part);
        UNROLL for (int half = 0; half < Kv::kStep; half += 8) {
            const float* column = q + pinned(d + half);  // all of q at once would spill
            UNROLL for (int g = 0; g < kGroup; ++g)
                UNROLL for (int i = 0; i < 8; ++i)
                    score[g] = fused_mul_add(part[half + i], column[g * kHeadSize + i], score[g]);
        }
    }
    UNROLL for (int g = 0; g < kGroup; ++g) {
        const float s = key <= last ? score[g] * k_scale : kNoScore;
        const float peak = fmax2(state.peak[g], wave_max(s));
        const float weight = key <= last ? fast_exp(s - peak) : 0.0f;
        const float old = fast_exp(state.peak[g] - peak);
        state.peak[g] = peak;
        state.sum[g] = state.sum[g] * old + wave_sum(weight);
        UNROLL for (int i = 0; i < kDims; ++i) state.out[g][i] *= old;
        weights[g][lane] = weight * v_scale;
    }
    wave_barrier();
    const int keys = imin(last - first + 1, kWaveSize);
    for (int j = 0; j < keys; ++j) {
        const auto* v = v_head + i64(first + j) * kRow;
        UNROLL for (int i = 0; i < kDims; ++i) {
            const int d = lane + 32 * i;
            const float value = Kv::load(v + (kHeadSize % 32 == 0 ? d : imin(d, kHeadSize - 1)));
            UNROLL for (int g = 0; g < kGroup; ++g)
                state.out[g][i] = fused_mul_add(weights[g][j], value, state.out[g][i]);
        }
    }
    wave_barrier();
}
