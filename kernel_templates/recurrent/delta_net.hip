// Gated delta rule (Gated Delta Networks, arXiv 2412.06464), token by token over the step's rows:
//   S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  y = S^T q
// with g = ssm_a softplus(a + dt_bias), beta = sigmoid(b), k = k/|k|, q = q/|q|/sqrt(kKeySize).
//
// Launch: [kValueHeads, ceil(kValueSize / 32)]. A lane owns a column of S, a wave kKeySize / kWaves
// rows of it, in registers from the first token to the last: memory sees S once per step. Rows of
// several sequences follow each other. One pass per token: with p = S^T k, r = S^T q of the old S,
// d = beta (v - e^g p) and y = e^g r + (k.q) d. q and k are the same for all lanes: scalar loads on
// RDNA. LDS: two floats a lane, twice, so that one barrier a token is enough.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kKeyHeads = 16;
constexpr int kValueHeads = 32;
constexpr int kKeySize = 128;
constexpr int kValueSize = 128;
constexpr float kEps = 1e-6f;
constexpr int kWaves = 4;
#endif

constexpr int kRowsOfWave = kKeySize / kWaves;
static_assert(kKeySize % kWaves == 0 && kValueHeads % kKeyHeads == 0);

extern "C" KERNEL(kWaves* kWaveSize) void delta_net(
    const StepState* __restrict__ step,
    const float* __restrict__ qkv,      // [rows, q heads | k heads | v heads]
    const float* __restrict__ a,        // [rows, kValueHeads]
    const float* __restrict__ b,        // [rows, kValueHeads]
    const float* __restrict__ ssm_a,    // [kValueHeads]
    const float* __restrict__ dt_bias,  // [kValueHeads]
    float* __restrict__ states,         // [slots]: [kValueHeads, kKeySize, kValueSize]
    float* __restrict__ y) {            // [rows, kValueHeads, kValueSize]
    constexpr int kKeys = kKeyHeads * kKeySize;
    constexpr int kChannels = 2 * kKeys + kValueHeads * kValueSize;
    SHARED float part[2][kWaves][2][kWaveSize];
    const int head = group_id();
    const int lane = lane_id();
    const int wave = kWaves == 1 ? 0 : wave_id();
    const int column = group_id_y() * kWaveSize + lane;
    const int safe_column = imin(column, kValueSize - 1);
    const int first = wave * kRowsOfWave;
    float* own = nullptr;
    float s[kRowsOfWave];

    const int rows = step->rows;
    for (int row = 0; row < rows; ++row) {
        const RowState own_row = rows_of(step)[row];
        if (row == own_row.begin) {
            own = states + i64(own_row.slot) * step->state_stride +
                  (i64(head) * kKeySize + first) * kValueSize + safe_column;
            UNROLL
            for (int i = 0; i < kRowsOfWave; ++i) s[i] = own[i * kValueSize];
        }
        const float* q = qkv + i64(row) * kChannels + head % kKeyHeads * kKeySize;
        const float* k = q + kKeys;
        float qq = 0.0f, kk = 0.0f, kq = 0.0f;
        UNROLL
        for (int at = 0; at < kKeySize; at += kWaveSize) {
            const int i = at + lane;
            if (kKeySize % kWaveSize != 0 && i >= kKeySize) continue;
            qq = fused_mul_add(q[i], q[i], qq);
            kk = fused_mul_add(k[i], k[i], kk);
            kq = fused_mul_add(k[i], q[i], kq);
        }
        const float k_scale = fast_rsqrt(fmax2(wave_sum(kk), kEps * kEps));
        const float q_scale = fast_rsqrt(fmax2(wave_sum(qq), kEps * kEps) * kKeySize);
        kq = wave_sum(kq) * k_scale;

        float seen = 0.0f, read = 0.0f;
        UNROLL
        for (int i = 0; i < kRowsOfWave; ++i) {
            seen = fused_mul_add(s[i], k[first + i], seen);
            read = fused_mul_add(s[i], q[first + i], read);
        }
        if constexpr (kWaves > 1) {
            auto& shares = part[row & 1];
            shares[wave][0][lane] = seen;
            shares[wave][1][lane] = read;
            barrier();
            seen = read = 0.0f;
            UNROLL
            for (int w = 0; w < kWaves; ++w) {
                seen += shares[w][0][lane];
                read += shares[w][1][lane];
            }
        }
        const i64 at = i64(row) * kValueHeads + head;
        const float decay = fast_exp(ssm_a[head] * softplus(a[at] + dt_bias[head]));
        const float v = qkv[i64(row) * kChannels + 2 * kKeys + head * kValueSize + safe_column];
        const float delta = sigmoid(b[at]) * (v - decay * k_scale * seen);
        if (wave == 0 && column < kValueSize)
            y[at * kValueSize + column] = q_scale * fused_mul_add(kq, delta, decay * read);
        UNROLL
        for (int i = 0; i < kRowsOfWave; ++i)
            s[i] = fused_mul_add(k[first + i], k_scale * delta, decay * s[i]);
        if (row != own_row.end - 1 || column >= kValueSize) continue;
        UNROLL
        for (int i = 0; i < kRowsOfWave; ++i) own[i * kValueSize] = s[i];
    }
}
EXPORT_KERNEL(delta_net)
