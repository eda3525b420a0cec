// Softmax over the experts and the kUsed largest, in falling order, the lower number first on a tie.
// Launch: [rows]; a wave owns a row, a lane every 32nd expert.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kExperts = 256;
constexpr int kUsed = 8;
constexpr bool kRenormalise = true;
#endif

static_assert(kUsed <= kWaveSize && kUsed <= kExperts);
constexpr float kTaken = -3e38f;

extern "C" KERNEL(kWaveSize) void router(const StepState* __restrict__ step,
                                         const float* __restrict__ logits,  // [rows, kExperts]
                                         int* __restrict__ ids,             // [rows, kUsed]
                                         float* __restrict__ shares) {      // [rows, kUsed]
    constexpr int kOfLane = (kExperts + kWaveSize - 1) / kWaveSize;
    const int row = group_id();
    if (row >= step->rows) return;
    const int lane = lane_id();
    float logit[kOfLane];
    float peak = kTaken;
    UNROLL for (int i = 0; i < kOfLane; ++i) {
        const int expert = lane + kWaveSize * i;
        logit[i] = expert < kExperts ? logits[i64(row) * kExperts + expert] : kTaken;
        peak = fmax2(peak, logit[i]);
    }
    peak = wave_max(peak);
    float all = 0.0f;
    UNROLL for (int i = 0; i < kOfLane; ++i) all += fast_exp(logit[i] - peak);

    int id = 0;  // lane s keeps what slot s gets
    float share = 0.0f;
    for (int slot = 0; slot < kUsed; ++slot) {
        float best = kTaken;
        int at = kExperts - 1;
        UNROLL for (int i = 0; i < kOfLane; ++i) {
            if (logit[i] > best) {
                best = logit[i];
                at = lane + kWaveSize * i;
            }
        }
        const float top = wave_max(best);
        const int winner = wave_fold<kWaveSize>(best == top ? at : kExperts - 1,
                                                [](int x, int y) { return imin(x, y); });
        UNROLL for (int i = 0; i < kOfLane; ++i)
            if (lane + kWaveSize * i == winner) logit[i] = kTaken;
        if (lane == slot) {
            id = winner;
            share = fast_exp(top - peak);
        }
    }
    const float total = wave_sum(kRenormalise ? share : all);
    if (lane >= kUsed) return;
    ids[row * kUsed + lane] = id;
    shares[row * kUsed + lane] = share * fast_rcp(total);
}
EXPORT_KERNEL(router)
