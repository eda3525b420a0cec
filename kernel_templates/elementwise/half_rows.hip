// Float activations to half rows (half_row.h), normed on the way where kNorm: v = x / rms(x) * w.
// Launch: [rows * kPerRow]; a group owns a row. LDS: two floats a wave.
#include "elementwise/half_row.h"
#include "elementwise/step_state.h"

#ifndef HETUNE_SPEC
constexpr int kCols = 4096;
constexpr int kPerRow = 1;
constexpr bool kNorm = true;
constexpr float kEps = 1e-6f;
constexpr bool kFloats = true;
constexpr int kWaves = 4;
#endif

static_assert(kCols % 8 == 0, "a lane makes eight halves at once");

// Eight values of x (times w) from column c on.
DEVICE inline void load8(const float* x, const float* w, int c, float (&v)[8]) {
    UNROLL
    for (int part = 0; part < 2; ++part) {
        const U4 raw = load128(x + c + 4 * part);
        v[4 * part] = float_of(raw.x);
        v[4 * part + 1] = float_of(raw.y);
        v[4 * part + 2] = float_of(raw.z);
        v[4 * part + 3] = float_of(raw.w);
    }
    if constexpr (kNorm) {
        UNROLL
        for (int k = 0; k < 8; ++k) v[k] *= w[c + k];
    }
}

extern "C" KERNEL(kWaves* kWaveSize) void half_rows(
    const StepState* __restrict__ step,
    const float* __restrict__ x,  // [rows * kPerRow, kCols]
    const float* __restrict__ w,  // [kCols] where kNorm
    float* __restrict__ floats,   // v, [rows * kPerRow, kCols] where kFloats
    u8* __restrict__ y) {         // v, [rows * kPerRow][kHalfRowBytes<kCols>]
    SHARED float part[kWaves];
    constexpr int kStep = kWaves * kWaveSize * 8;
    const int row = group_id();
    if (row >= step->rows * kPerRow) return;
    const float* from = x + i64(row) * kCols;

    float peak = 0.0f, squares = 0.0f;
    for (int c = thread_id() * 8; c < kCols; c += kStep) {
        float v[8];
        load8(from, w, c, v);
        UNROLL
        for (int k = 0; k < 8; ++k) peak = fmax2(peak, fabs1(v[k]));
        if constexpr (kNorm) {
            UNROLL
            for (int k = 0; k < 8; ++k) squares = fused_mul_add(from[c + k], from[c + k], squares);
        }
    }
    peak = group_max<kWaves>(peak, part);
    float factor = 1.0f;
    if constexpr (kNorm)
        factor = fast_rsqrt(group_sum<kWaves>(squares, part) * (1.0f / kCols) + kEps);
    // The largest is brought to 8192 .. 16384: there is room above for no overflow, and 27 bits
    // below for values that are still whole halves.
    const u32 exponent = bits_of(fmax2(peak * factor, 1e-20f)) & 0x7f800000u;
    const float scale = float_of(exponent - (13u << 23));
    const float inverse = float_of((254u << 23) - exponent + (13u << 23));

    u8* to = y + i64(row) * kHalfRowBytes<kCols>;
    for (int c = thread_id() * 8; c < kCols; c += kStep) {
        float v[8];
        load8(from, w, c, v);
        u32 halves[4];
        UNROLL
        for (int k = 0; k < 8; ++k) v[k] *= factor;
        if constexpr (kFloats) {
            UNROLL
            for (int k = 0; k < 8; ++k) floats[i64(row) * kCols + c + k] = v[k];
        }
        UNROLL
        for (int k = 0; k < 4; ++k)
            halves[k] = u32(float_to_half(v[2 * k] * inverse)) |
                        u32(float_to_half(v[2 * k + 1] * inverse)) << 16;
        store128(to + 2 * c, {halves[0], halves[1], halves[2], halves[3]});
    }
    if (thread_id() == 0) *reinterpret_cast<float*>(to + 2 * kCols) = scale;
}
EXPORT_KERNEL(half_rows)
