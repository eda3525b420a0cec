// gfx12 WMMA ("RDNA4 Instruction Set Architecture", 7.9): lane l holds row l % 16 of A and of B,
// halves 8 (l / 16) to 8 (l / 16) + 7 of it; element i of C is row 8 (l / 16) + i, column l % 16.
// Compiled only: neither a card nor an emulator has run it.
#pragma once

#if defined(__GFX12__)

typedef _Float16 HetuneHalf8 __attribute__((ext_vector_type(8)));
typedef short HetuneShort8 __attribute__((ext_vector_type(8)));

struct MatAB {
    HetuneHalf8 v;
};

DEVICE inline MatAB mat_load(const u16* tile, int stride) {
    return {*reinterpret_cast<const HetuneHalf8*>(
        __builtin_assume_aligned(tile + (lane_id() & 15) * stride + (lane_id() >> 4) * 8, 16))};
}
DEVICE inline void mat_mul(MatC& c, const MatAB& a, const MatAB& b) {
    c.v = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(a.v, b.v, c.v);
}
DEVICE inline void mat_mul_bf16(MatC& c, const MatAB& a, const MatAB& b) {
    c.v = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(
        __builtin_bit_cast(HetuneShort8, a.v), __builtin_bit_cast(HetuneShort8, b.v), c.v);
}

constexpr int kMatRowSlots = 8;
DEVICE inline int mat_row(int slot) { return 8 * (lane_id() >> 4) + slot; }

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
