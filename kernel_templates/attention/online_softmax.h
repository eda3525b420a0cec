// Attention of one wave over some tiles of 32 keys, for the kGroup query heads of one KV head.
// Scores: a lane owns a key, so nothing crosses lanes. Values: a lane owns dimensions. One wave
// alone has to keep the memory busy: several loads are on their way before the first of them is
// used. Online softmax (Milakov and Gimelshein, arXiv 1805.02867): a running maximum and sum.
#pragma once

#include "attention/kv_type.h"
#include "quant/row_values.h"

constexpr float kNoScore = -1e30f;  // instead of -infinity: differences of two stay finite

template <int kGroup, int kHeadSize>
struct SoftmaxState {
    static constexpr int kDims = kLanesInTurn ? kHeadSize : (kHeadSize + 31) / 32;  // of a lane
    static constexpr bool kRun = kHeadSize % 32 == 0;  // side by side; else lane, lane + 32, ...
    float peak[kGroup];
    float sum[kGroup];
    float out[kGroup][kDims];

    DEVICE static int dim(int i) {
        if constexpr (kLanesInTurn) return i;
        return kRun ? lane_id() * kDims + i : lane_id() + 32 * i;
    }
    DEVICE void clear() {
        if (is_idle_lane()) return;
        UNROLL
        for (int g = 0; g < kGroup; ++g) {
            peak[g] = kNoScore;
            sum[g] = 0.0f;
            UNROLL
            for (int i = 0; i < kDims; ++i) out[g][i] = 0.0f;
        }
    }
    // store() writes a share for each head: the sums, the peak, the sum of weights.
    DEVICE void store(float (*shares)[kHeadSize + 2]) const {
        if (is_idle_lane()) return;
        UNROLL
        for (int g = 0; g < kGroup; ++g) {
            UNROLL
            for (int i = 0; i < kDims; ++i)
                if (const int d = dim(i); d < kHeadSize) shares[g][d] = out[g][i];
            if (lane_id() == 0) {
                shares[g][kHeadSize] = peak[g];
                shares[g][kHeadSize + 1] = sum[g];
            }
        }
    }
};

// attend_tile where the lanes run one after another: the first one does it all, in vectors. A score
// is the sum of kParts sums over dimensions.
template <class Kv, int kGroup, int kHeadSize, int kKvHeads>
DEVICE inline void attend_tile_in_turn(SoftmaxState<kGroup, kHeadSize>& state, const float* q,
                                       float scale, const typename Kv::Element* k_head,
                                       const typename Kv::Element* v_head, int kv_head, int first,
                                       int last) {
    constexpr i64 kRow = Kv::template kRowElements<kKvHeads, kHeadSize>;
    constexpr int kParts = kHeadSize % 16 == 0 ? 16 : 8;
    const int keys = imin(last - first + 1, kWaveSize);
    float scores[kGroup][kWaveSize];
    for (int j = 0; j < keys; ++j) {
        const auto* k = k_head + i64(first + j) * kRow;
        const float k_scale = Kv::template scale<kKvHeads, kHeadSize>(k, kv_head) * scale;
        float key[kHeadSize];
        for (int d = 0; d < kHeadSize; ++d) key[d] = Kv::load(k + d);
        for (int g = 0; g < kGroup; ++g) {
            float parts[kParts] = {};
            for (int base = 0; base < kHeadSize; base += kParts)
                for (int i = 0; i < kParts; ++i)
                    parts[i] = fused_mul_add(key[base + i], q[g * kHeadSize + base + i], parts[i]);
            for (int width = kParts / 2; width > 0; width /= 2)
                for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
            scores[g][j] = parts[0] * k_scale;
        }
    }
    for (int g = 0; g < kGroup; ++g) {
        float peak = state.peak[g];
        for (int j = 0; j < keys; ++j) peak = fmax2(peak, scores[g][j]);
        const float old = fast_exp(state.peak[g] - peak);
        state.peak[g] = peak;
        state.sum[g] *= old;
        for (int d = 0; d < kHeadSize; ++d) state.out[g][d] *= old;
        for (int j = 0; j < keys; ++j) {
            scores[g][j] = fast_exp(scores[g][j] - peak);
            state.sum[g] += scores[g][j];
        }
    }
    for (int j = 0; j < keys; ++j) {
        const auto* v = v_head + i64(first + j) * kRow;
        const float v_scale = Kv::template scale<kKvHeads, kHeadSize>(v, kv_head);
        float value[kHeadSize];
        for (int d = 0; d < kHeadSize; ++d) value[d] = Kv::load(v + d);
        for (int g = 0; g < kGroup; ++g) {
            const float weight = scores[g][j] * v_scale;
            for (int d = 0; d < kHeadSize; ++d)
                state.out[g][d] = fused_mul_add(weight, value[d], state.out[g][d]);
        }
    }
}

// How many of `count` things a loop takes at once: at most `most`, and a whole number of times.
constexpr int at_once(int count, int most) {
    while (count % most != 0) most /= 2;
    return most;
}

// Keys first .. first + 31, of which those up to `last` count. `q` is a multiple of 16 bytes;
// `weights` is LDS of this wave, [kGroup][32].
template <class Kv, int kGroup, int kHeadSize, int kKvHeads>
DEVICE inline void attend_tile(SoftmaxState<kGroup, kHeadSize>& state, const float* q, float scale,
                               const typename Kv::Element* k_cache,
                               const typename Kv::Element* v_cache, int kv_head, int first,
                               int last, float (*weights)[kWaveSize]) {
    constexpr i64 kRow = Kv::template kRowElements<kKvHeads, kHeadSize>;
    const auto* k_head = k_cache + kv_head * kHeadSize;
    const auto* v_head = v_cache + kv_head * kHeadSize;
    if constexpr (kLanesInTurn) {
        if (!is_idle_lane())
            attend_tile_in_turn<Kv, kGroup, kHeadSize, kKvHeads>(state, q, scale, k_head, v_head,
                                                                 kv_head, first, last);
        return;
    }
    using State = SoftmaxState<kGroup, kHeadSize>;
    constexpr int kDims = State::kDims;
    const int lane = lane_id();
    const int key = first + lane;
    const i64 own = i64(imin(key, last)) * kRow;  // clamped: no branch around loads
    const auto* k = k_head + own;
    const float k_scale = Kv::template scale<kKvHeads, kHeadSize>(k, kv_head) * scale;
    const float v_scale = Kv::template scale<kKvHeads, kHeadSize>(v_head + own, kv_head);
    float score[kGroup];
    UNROLL
    for (int g = 0; g < kGroup; ++g) score[g] = 0.0f;
    constexpr int kSteps = at_once(kHeadSize / Kv::kStep, 64 / Kv::kStep);
    const int size = pinned(kHeadSize);  // a loop: all keys at once would spill
    for (int base = 0; base < size; base += kSteps * Kv::kStep) {
        float part[kSteps][Kv::kStep];
        UNROLL
        for (int i = 0; i < kSteps; ++i) Kv::load_step(k + base + i * Kv::kStep, part[i]);
        loads_start();
        UNROLL
        for (int i = 0; i < kSteps; ++i) {
            UNROLL
            for (int quarter = 0; quarter < Kv::kStep; quarter += 4) {
                // Keys in float leave no room for more of q; apart, its loads wait for each other.
                if constexpr (sizeof(typename Kv::Element) == 4) loads_apart();
                const float* column =
                    q + pinned(base + i * Kv::kStep + quarter);  // all of q at once would spill
                UNROLL
                for (int g = 0; g < kGroup; ++g) {
                    const U4 own = load128(column + g * kHeadSize);
                    score[g] = fused_mul_add(part[i][quarter], float_of(own.x), score[g]);
                    score[g] = fused_mul_add(part[i][quarter + 1], float_of(own.y), score[g]);
                    score[g] = fused_mul_add(part[i][quarter + 2], float_of(own.z), score[g]);
                    score[g] = fused_mul_add(part[i][quarter + 3], float_of(own.w), score[g]);
                }
            }
        }
    }
    UNROLL
    for (int g = 0; g < kGroup; ++g) {
        const float s = key <= last ? score[g] * k_scale : kNoScore;
        const float peak = fmax2(state.peak[g], wave_max(s));
        const float weight = key <= last ? fast_exp(s - peak) : 0.0f;
        const float old = fast_exp(state.peak[g] - peak);
        state.peak[g] = peak;
        state.sum[g] = state.sum[g] * old + wave_sum(weight);
        UNROLL
        for (int i = 0; i < kDims; ++i) state.out[g][i] *= old;
        weights[g][lane] = weight * v_scale;
    }
    wave_barrier();
    constexpr int kKeys = 4;  // weights behind the last key are 0
    const int keys = imin(last - first + 1, kWaveSize);
    for (int j = 0; j < keys; j += kKeys) {
        float value[kKeys][kDims];
        UNROLL
        for (int n = 0; n < kKeys; ++n) {
            const auto* v = v_head + i64(first + imin(j + n, keys - 1)) * kRow;
            if constexpr (State::kRun) {
                Kv::load_run(v + State::dim(0), value[n]);
            } else {
                UNROLL
                for (int i = 0; i < kDims; ++i)
                    value[n][i] = Kv::load(v + imin(State::dim(i), kHeadSize - 1));
            }
        }
        loads_start();
        UNROLL
        for (int n = 0; n < kKeys; ++n) {
            UNROLL
            for (int g = 0; g < kGroup; ++g) {
                const float weight = weights[g][j + n];
                UNROLL
                for (int i = 0; i < kDims; ++i)
                    state.out[g][i] = fused_mul_add(weight, value[n][i], state.out[g][i]);
            }
        }
    }
    wave_barrier();
}
