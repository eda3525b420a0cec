// A gated delta net layer's middle for decoded tokens, one of each sequence: causal_conv, delta_net
// and gated_rmsnorm (see there for the formulas) in one launch, its result in the form that the
// next product reads. Launch: [kValueHeads, rows]; a group owns a value head. Its state is cut into
// units of 32 columns and kKeySize / kSplits rows, one of them a wave (or several in turn), in
// registers between the two passes over it. Value heads that share a key head compute its
// convolution each for itself. LDS: a head's q, k, v and result, and two floats a lane for each
// unit.
#include "elementwise/step_state.h"
#include "linear/fused.h"

#ifndef HETUNE_SPEC
constexpr int kKeyHeads = 16;
constexpr int kValueHeads = 32;
constexpr int kKeySize = 128;
constexpr int kValueSize = 128;
constexpr int kTaps = 4;
constexpr float kEps = 1e-6f;
constexpr float kNormEps = 1e-6f;
constexpr bool kQuantisedOutput = true;
constexpr int kSplits = 4;
constexpr int kWaves = 16;
#endif

constexpr int kKeys = kKeyHeads * kKeySize;
constexpr int kWidth = 2 * kKeys + kValueHeads * kValueSize;
constexpr int kBlocks = (kValueSize + 31) / 32;
constexpr int kUnits = kBlocks * kSplits;
constexpr int kUnitsOfWave = (kUnits + kWaves - 1) / kWaves;
constexpr int kUnitRows = kKeySize / kSplits;
constexpr int kThreads = kWaves * kWaveSize;
static_assert(kKeySize % kSplits == 0 && kValueHeads % kKeyHeads == 0);
static_assert(!kQuantisedOutput || kValueSize % 32 == 0, "blocks of 32 lie within a head");

// The convolution's output for one channel. The ring of inputs has kTaps places, and the place of
// this token is one that no other group reads: writing it twice does no harm.
DEVICE inline float convolve(const float* qkv, const float* w, float* ring, int position,
                             int channel) {
    const float now = qkv[channel];
    float sum = w[channel * kTaps + kTaps - 1] * now;
    UNROLL
    for (int j = 0; j < kTaps - 1; ++j)
        sum = fused_mul_add(w[channel * kTaps + j],
                            ring[(position + 1 + j) % kTaps * kWidth + channel], sum);
    ring[position % kTaps * kWidth + channel] = now;
    return silu(sum);
}

extern "C" KERNEL(kWaves* kWaveSize) void delta_step(
    const StepState* INPUT step,
    const float* INPUT qkv_rows,  // [rows, q heads | k heads | v heads]
    const float* INPUT a_rows,    // [rows, kValueHeads]
    const float* INPUT b_rows,    // [rows, kValueHeads]
    const float* INPUT z_rows,    // [rows, kValueHeads, kValueSize]
    const float* INPUT conv,      // [kWidth, kTaps]
    const float* INPUT ssm_a,     // [kValueHeads]
    const float* INPUT dt_bias,   // [kValueHeads]
    const float* INPUT norm,      // [kValueSize]
    float* rings,                 // [slots]: [kTaps, kWidth], state_stride apart
    float* __restrict__ states,   // [slots]: [kValueHeads, kKeySize, kValueSize]
    void* __restrict__ y_rows) {  // [rows]: [kValueHeads * kValueSize / 32] XBlock or floats
    begin();
    SHARED float q[kKeySize];
    SHARED float k[kKeySize];
    SHARED float v[kValueSize];
    SHARED float result[kValueSize];
    SHARED float part[kUnits][2][kWaveSize];
    const int head = group_id();
    const int lane = lane_id();
    const int wave = kWaves == 1 ? 0 : wave_id();
    const int row = group_id_y();
    if (row >= step->rows) return;
    const RowState own_row = rows_of(step)[row];
    const int position = own_row.position;
    if (position < 0) return;
    const i64 slot = i64(own_row.slot) * step->state_stride;
    float* const ring = rings + slot;
    float* const state = states + slot;
    const float* const qkv = qkv_rows + i64(row) * kWidth;
    const float* const a = a_rows + i64(row) * kValueHeads;
    const float* const b = b_rows + i64(row) * kValueHeads;
    const float* const z = z_rows + i64(row) * kValueHeads * kValueSize;
    constexpr i64 kRowBytes = kQuantisedOutput ? i64(kValueHeads * kValueSize / 32) * sizeof(XBlock)
                                               : i64(kValueHeads * kValueSize) * sizeof(float);
    void* const y = static_cast<u8*>(y_rows) + row * kRowBytes;

    float s[kUnitsOfWave][kUnitRows];
    UNROLL
    for (int u = 0; u < kUnitsOfWave; ++u) {
        const int unit = imin(wave + u * kWaves, kUnits - 1);
        const int column = imin(unit % kBlocks * 32 + lane, kValueSize - 1);
        const float* own = state + (i64(head) * kKeySize + unit / kBlocks * kUnitRows) * kValueSize;
        UNROLL
        for (int i = 0; i < kUnitRows; ++i) s[u][i] = own[i * kValueSize + column];
    }
    const int key_head = head % kKeyHeads * kKeySize;
    for (int i = thread_id(); i < kKeySize; i += kThreads) {
        q[i] = convolve(qkv, conv, ring, position, key_head + i);
        k[i] = convolve(qkv, conv, ring, position, kKeys + key_head + i);
    }
    for (int i = thread_id(); i < kValueSize; i += kThreads)
        v[i] = convolve(qkv, conv, ring, position, 2 * kKeys + head * kValueSize + i);
    barrier();

    float qq = 0.0f, kk = 0.0f, kq = 0.0f;
    UNROLL
    for (int at = 0; at < kKeySize; at += kWaveSize) {
        const int i = imin(at + lane, kKeySize - 1);  // all lanes stay active
        const bool inside = at + lane < kKeySize;
        const float qi = inside ? settled(q[i]) : 0.0f, ki = inside ? settled(k[i]) : 0.0f;
        qq = fused_mul_add(qi, qi, qq);
        kk = fused_mul_add(ki, ki, kk);
        kq = fused_mul_add(ki, qi, kq);
    }
    const float k_scale = fast_rsqrt(fmax2(wave_sum(kk), kEps * kEps));
    const float q_scale = fast_rsqrt(fmax2(wave_sum(qq), kEps * kEps) * kKeySize);
    kq = wave_sum(kq) * k_scale;

    UNROLL
    for (int u = 0; u < kUnitsOfWave; ++u) {
        const int unit = wave + u * kWaves;
        if (unit >= kUnits) break;
        const int first = unit / kBlocks * kUnitRows;
        float seen = 0.0f, read = 0.0f;
        UNROLL
        for (int i = 0; i < kUnitRows; ++i) {
            seen = fused_mul_add(s[u][i], k[first + i], seen);
            read = fused_mul_add(s[u][i], q[first + i], read);
        }
        part[unit][0][lane] = seen;
        part[unit][1][lane] = read;
    }
    barrier();

    const float decay = fast_exp(ssm_a[head] * softplus(a[head] + dt_bias[head]));
    const float beta = sigmoid(b[head]);
    UNROLL
    for (int u = 0; u < kUnitsOfWave; ++u) {
        const int unit = wave + u * kWaves;
        if (unit >= kUnits) break;
        const int block = unit % kBlocks;
        const int column = imin(block * 32 + lane, kValueSize - 1);
        float seen = 0.0f, read = 0.0f;
        UNROLL
        for (int p = 0; p < kSplits; ++p) {
            seen += part[p * kBlocks + block][0][lane];
            read += part[p * kBlocks + block][1][lane];
        }
        const float delta = beta * (v[column] - decay * k_scale * seen);
        if (unit / kBlocks == 0) result[column] = q_scale * fused_mul_add(kq, delta, decay * read);
        const int first = unit / kBlocks * kUnitRows;
        float* own = state + (i64(head) * kKeySize + first) * kValueSize;
        UNROLL
        for (int i = 0; i < kUnitRows; ++i)
            s[u][i] = fused_mul_add(k[first + i], k_scale * delta, decay * s[u][i]);
        if (block * 32 + lane < kValueSize) {
            UNROLL
            for (int i = 0; i < kUnitRows; ++i) own[i * kValueSize + column] = s[u][i];
        }
    }
    barrier();

    for (int block = wave; block < kBlocks; block += kWaves) {
        float squares = 0.0f;
        UNROLL
        for (int at = 0; at < kValueSize; at += kWaveSize) {
            const float r = settled(result[imin(at + lane, kValueSize - 1)]);
            squares = at + lane < kValueSize ? fused_mul_add(r, r, squares) : squares;
        }
        const float factor = fast_rsqrt(wave_sum(squares) * (1.0f / kValueSize) + kNormEps);
        const int i = imin(block * 32 + lane, kValueSize - 1);
        const float value = result[i] * factor * norm[i] * silu(z[head * kValueSize + i]);
        if constexpr (kQuantisedOutput)
            store_block<true>(value, y, head * kBlocks + block);
        else if (block * 32 + lane < kValueSize)
            static_cast<float*>(y)[head * kValueSize + i] = value;
    }
}
EXPORT_KERNEL(delta_step)
