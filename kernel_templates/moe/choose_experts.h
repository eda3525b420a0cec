// Softmax over the experts and the kUsed largest, in falling order, the lower number first on a
// tie; by one wave, a lane every 32nd expert.
#pragma once

#include "prelude/prelude.h"

// `logit_of(expert)` is asked for experts below kExperts. Writes ids and shares [kUsed].
template <int kExperts, int kUsed, bool kRenormalise, class Logit>
DEVICE inline void choose_experts(Logit&& logit_of, int* ids, float* shares) {
    static_assert(kUsed <= kWaveSize && kUsed <= kExperts);
    constexpr float kTaken = -3e38f;
    constexpr int kOfLane = (kExperts + kWaveSize - 1) / kWaveSize;
    const int lane = lane_id();
    float logit[kOfLane];
    float peak = kTaken;
    UNROLL
    for (int i = 0; i < kOfLane; ++i) {
        const int expert = lane + kWaveSize * i;
        const float value = logit_of(imin(expert, kExperts - 1));
        logit[i] = expert < kExperts ? value : kTaken;
        peak = fmax2(peak, logit[i]);
    }
    peak = wave_max(peak);
    float all = 0.0f;
    UNROLL
    for (int i = 0; i < kOfLane; ++i) all += fast_exp(logit[i] - peak);

    int id = 0;  // lane s keeps what slot s gets
    float share = 0.0f;
    for (int slot = 0; slot < kUsed; ++slot) {
        float best = kTaken;
        int at = kExperts - 1;
        UNROLL
        for (int i = 0; i < kOfLane; ++i) {
            if (logit[i] > best) {
                best = logit[i];
                at = lane + kWaveSize * i;
            }
        }
        const float top = wave_max(best);
        const int winner = wave_min(best == top ? at : kExperts - 1);
        UNROLL
        for (int i = 0; i < kOfLane; ++i)
            if (lane + kWaveSize * i == winner) logit[i] = kTaken;
        if (lane == slot) {
            id = winner;
            share = fast_exp(top - peak);
        }
    }
    const float total = wave_sum(kRenormalise ? share : all);
    if (lane >= kUsed) return;
    ids[lane] = id;
    shares[lane] = share * fast_rcp(total);
}
