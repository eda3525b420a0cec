// What gfx11 and gfx12 share; each has its operand layout in its own file.
#pragma once

typedef _Float16 HetuneHalf2 __attribute__((ext_vector_type(2)));
typedef float HetuneFloat8 __attribute__((ext_vector_type(8)));

struct MatC {
    HetuneFloat8 v;
};

struct Copy16 {
    U4 held;
    DEVICE void start(u16*, const void* from) { held = load128(from); }
    DEVICE void finish(u16* lds) const { store128(lds, held); }
};
DEVICE inline void copies_finish() {}

DEVICE inline u32 half2_of(float low, float high) {
    return u32(float_to_half(low)) | u32(float_to_half(high)) << 16;
}
DEVICE inline u32 half2_fma(u32 a, u32 b, u32 c) {
    return __builtin_bit_cast(u32, __builtin_elementwise_fma(__builtin_bit_cast(HetuneHalf2, a),
                                                             __builtin_bit_cast(HetuneHalf2, b),
                                                             __builtin_bit_cast(HetuneHalf2, c)));
}
DEVICE inline u32 half2_add(u32 a, u32 b) {
    return __builtin_bit_cast(
        u32, HetuneHalf2(__builtin_bit_cast(HetuneHalf2, a) + __builtin_bit_cast(HetuneHalf2, b)));
}
// A half 0x6400 | u is 1024 + u.
DEVICE inline void bytes_to_half2(u32 word, u32& low, u32& high) {
    const u32 unsigned_bytes = word ^ 0x80808080u;
    constexpr u32 kMinus1152 = 0xe480e480u;  // 1024 + 128
    low = half2_add(byte_perm(unsigned_bytes, 0x64646464u, 0x04010400u), kMinus1152);
    high = half2_add(byte_perm(unsigned_bytes, 0x64646464u, 0x04030402u), kMinus1152);
}

DEVICE inline void mat_clear(MatC& c) {
    UNROLL
    for (int i = 0; i < 8; ++i) c.v[i] = 0.0f;
}

#include "prelude/matrix_gfx11.h"
#include "prelude/matrix_gfx12.h"
