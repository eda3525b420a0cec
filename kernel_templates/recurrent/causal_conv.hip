// y[t] = silu(sum over j of w[j] x[t - kTaps + 1 + j]), each channel for itself.
// Launch: [ceil(kWidth / (32 kWaves)), ceil(rows / kRows)]; a lane owns a channel and walks over
// kRows of the step's rows, which are of one sequence. The state is a ring of the last kTaps
// inputs, that of position p in place p % kTaps (delta_step reads and writes it too). Only the
// groups with a sequence's first rows touch its state: what is to be left there they find in x.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kWidth = 8192;
constexpr int kTaps = 4;
constexpr int kRows = 32;
constexpr int kWaves = 4;
#endif

static_assert(kRows >= kTaps - 1, "other groups find the rows before theirs in x");

extern "C" KERNEL(kWaves* kWaveSize) void causal_conv(
    const StepState* __restrict__ step,
    const float* __restrict__ x,  // [rows, kWidth]
    const float* __restrict__ w,  // [kWidth, kTaps]
    float* __restrict__ states,   // [slots]: [kTaps, kWidth], state_stride apart
    float* __restrict__ y) {      // [rows, kWidth]
    const int channel = group_id() * kWaves * kWaveSize + thread_id();
    const int rows = step->rows;
    const int first = group_id_y() * kRows;
    if (channel >= kWidth || first >= rows) return;
    const RowState own = rows_of(step)[first];
    float* const state = states + i64(own.slot) * step->state_stride;
    float weights[kTaps], window[kTaps];
    UNROLL
    for (int j = 0; j < kTaps; ++j) weights[j] = w[channel * kTaps + j];
    UNROLL
    for (int j = 0; j < kTaps - 1; ++j)
        window[j] = first == own.begin ? state[(own.position + 1 + j) % kTaps * kWidth + channel]
                                       : x[i64(first - kTaps + 1 + j) * kWidth + channel];
    const int end = imin(first + kRows, rows);
    for (int row = first; row < end; ++row) {
        window[kTaps - 1] = x[i64(row) * kWidth + channel];
        float sum = 0.0f;
        UNROLL
        for (int j = 0; j < kTaps; ++j) sum = fused_mul_add(weights[j], window[j], sum);
        y[i64(row) * kWidth + channel] = silu(sum);
        UNROLL
        for (int j = 0; j < kTaps - 1; ++j) window[j] = window[j + 1];
    }
    if (first != own.begin) return;
    for (int row = imax(own.end - kTaps, first); row < own.end; ++row)
        state[(own.position + row - first) % kTaps * kWidth + channel] =
            x[i64(row) * kWidth + channel];
}
EXPORT_KERNEL(causal_conv)
