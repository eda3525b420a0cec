// Makes quantised activations (XBlock, quant/tile.h): 8 bits, one scale for 32 values.
#pragma once

#include "quant/row_values.h"

// One lane holds all 32.
DEVICE inline void quantise_lane(const float (&v)[32], XBlock* out) {
    float peak = 0.0f;
    UNROLL
    for (int k = 0; k < 32; ++k) peak = fmax2(peak, fabs1(v[k]));
    const float scale = peak * (1.0f / 127.0f);
    const float inverse = peak > 0.0f ? 127.0f * fast_rcp(peak) : 0.0f;
    int sum[2] = {0, 0};
    UNROLL
    for (int j = 0; j < 8; ++j) {
        u32 word = 0;
        UNROLL
        for (int i = 0; i < 4; ++i) {
            const int q = round_to_int(v[4 * j + i] * inverse);
            sum[j / 4] += q;
            word |= u32(q & 0xff) << (8 * i);
        }
        out->q[j] = word;
    }
    out->scale = scale;
    out->sum = scale * float(sum[0] + sum[1]);
    out->sum_low = scale * float(sum[0]);
    out->sum_high = scale * float(sum[1]);
}

// The 32 lanes hold 32 consecutive values.
DEVICE inline void quantise_wave(float v, XBlock* out) {
    if constexpr (kLanesInTurn) {
        float all[32];
        wave_gather(v, all);
        if (lane_id() == 0) quantise_lane(all, out);
        return;
    }
    const float peak = wave_max(fabs1(v));
    const float scale = peak * (1.0f / 127.0f);
    const int q = round_to_int(v * (peak > 0.0f ? 127.0f * fast_rcp(peak) : 0.0f));
    const int half = half_wave_sum(q);
    const int other = shuffle_xor<16>(half);
    int word = (q & 0xff) << (8 * (lane_id() & 3));
    word |= shuffle_xor<1>(word);
    word |= shuffle_xor<2>(word);
    if ((lane_id() & 3) == 0) out->q[lane_id() >> 2] = u32(word);
    if (lane_id() == 0) {
        out->scale = scale;
        out->sum = scale * float(half + other);
        out->sum_low = scale * float(half);
        out->sum_high = scale * float(other);
    }
}
DEVICE inline void quantise_rows(const RowValues& values, XBlock* out) {
    if constexpr (kLanesInTurn) {
        float all[kTileRows];
        UNROLL
        for (int i = 0; i < kTileRows; ++i) all[i] = values.v[i % kLaneRows];
        quantise_lane(all, out);
    } else {
        quantise_wave(values.v[0], out);
    }
}
