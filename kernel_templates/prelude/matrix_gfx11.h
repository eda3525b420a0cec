// gfx11 WMMA ("RDNA3 Instruction Set Architecture", 7.9): lane l holds row l % 16 of A and of B,
// all 16 halves of it, so that both half-waves hold the same; element i of C is row 2 i + l / 16,
// column l % 16. EXEC must be all ones.
#pragma once

#if defined(__GFX11__)

typedef _Float16 HetuneHalf16 __attribute__((ext_vector_type(16)));
typedef short HetuneShort16 __attribute__((ext_vector_type(16)));

struct MatAB {
    HetuneHalf16 v;
};

DEVICE inline MatAB mat_load(const u16* tile, int stride) {
    return {*reinterpret_cast<const HetuneHalf16*>(
        __builtin_assume_aligned(tile + (lane_id() & 15) * stride, 16))};
}
DEVICE inline void mat_mul(MatC& c, const MatAB& a, const MatAB& b) {
    c.v = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(a.v, b.v, c.v);
}
DEVICE inline void mat_mul_bf16(MatC& c, const MatAB& a, const MatAB& b) {
    c.v = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(__builtin_bit_cast(HetuneShort16, a.v),
                                                      __builtin_bit_cast(HetuneShort16, b.v), c.v);
}

constexpr int kMatRowSlots = 8;
DEVICE inline int mat_row(int slot) { return 2 * slot + (lane_id() >> 4); }

template <class F>
DEVICE inline void mat_visit(MatC& c, F&& f) {
    UNROLL
    for (int i = 0; i < 8; ++i) {
        float value = c.v[i];
        f(MatPlace{i, mat_row(i), lane_id() & 15}, value);
        c.v[i] = value;
    }
}
template <class Op>
DEVICE inline float mat_fold_row(float v, Op op) {
    return wave_fold<16>(v, op);
}

#endif
