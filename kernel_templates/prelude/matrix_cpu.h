// The layout of gfx11, lane for lane: what a lane holds of A reaches the others by an exchange
// only.
#pragma once

struct MatAB {
    u16 v[16];
};
struct MatC {
    float v[8];
};

struct Copy16 {
    U4 held;
    void start(u16*, const void* from) { held = load128(from); }
    void finish(u16* lds) const { store128(lds, held); }
};
inline void copies_finish() {}

inline u32 half2_of(float low, float high) {
    return u32(float_to_half(low)) | u32(float_to_half(high)) << 16;
}
inline u32 half2_fma(u32 a, u32 b, u32 c) {
    const auto part = [&](int shift) {
        return fused_mul_add(half_to_float(u16(a >> shift)), half_to_float(u16(b >> shift)),
                             half_to_float(u16(c >> shift)));
    };
    return half2_of(part(0), part(16));
}
inline u32 half2_add(u32 a, u32 b) { return half2_fma(a, 0x3c003c00u, b); }
inline void bytes_to_half2(u32 word, u32& low, u32& high) {
    const auto byte = [&](int k) { return float(i8(word >> (8 * k))); };
    low = half2_of(byte(0), byte(1));
    high = half2_of(byte(2), byte(3));
}

inline void mat_clear(MatC& c) {
    for (float& v : c.v) v = 0.0f;
}
inline MatAB mat_load(const u16* tile, int stride) {
    MatAB m;
    __builtin_memcpy(m.v, tile + (lane_id() & 15) * stride, sizeof m.v);
    return m;
}
template <class ToFloat>
inline void mat_mul_by(MatC& c, const MatAB& a, const MatAB& b, ToFloat to_float) {
    const unsigned long long* slots = hetune_exchange(&a);
    float own[16];
    for (int k = 0; k < 16; ++k) own[k] = to_float(b.v[k]);
    for (int i = 0; i < 8; ++i) {
        const auto* row = reinterpret_cast<const MatAB*>(slots[2 * i + (lane_id() >> 4)]);
        for (int k = 0; k < 16; ++k) c.v[i] += to_float(row->v[k]) * own[k];
    }
    wave_barrier();  // the others may still be reading this lane's `a`
}
inline void mat_mul(MatC& c, const MatAB& a, const MatAB& b) { mat_mul_by(c, a, b, half_to_float); }
inline void mat_mul_bf16(MatC& c, const MatAB& a, const MatAB& b) {
    mat_mul_by(c, a, b, bf16_to_float);
}

constexpr int kMatRowSlots = 8;
inline int mat_row(int slot) { return 2 * slot + (lane_id() >> 4); }

template <class F>
inline void mat_visit(MatC& c, F&& f) {
    for (int i = 0; i < 8; ++i) f(MatPlace{i, mat_row(i), lane_id() & 15}, c.v[i]);
}
template <class Op>
inline float mat_fold_row(float v, Op op) {
    return wave_fold<16>(v, op);
}
