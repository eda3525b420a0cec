// v_wmma_i32_16x16x16_iu8 ("RDNA3 Instruction Set Architecture" and "RDNA4 ...", 7.9), twice for 32
// bytes. Tokens are the rows of A and rows of W the columns of B, so that a lane's sums, element i
// of C, are of one row of W, l % 16, and of token 2 i + l / 16: the row's scales are in two
// registers, and those of a token go to the 16 lanes of a half-wave by row_share, within the
// instruction that multiplies by them.
//   gfx11: lane l holds all 16 bytes of row l % 16 of A and of B, so that both half-waves hold the
//          same; element i of C is row 2 i + l / 16, column l % 16.
//   gfx12: lane l holds bytes 8 (l / 16) to 8 (l / 16) + 7 of it; element i of C is row
//          8 (l / 16) + i. Compiled only: neither a card nor an emulator has run it.
// EXEC must be all ones.
#pragma once

#if defined(__GFX11__) || defined(__GFX12__)
#define HETUNE_INT_MATRIX

constexpr int kIntColumns = 16, kIntLaneRows = 1, kIntShares = 1;
constexpr int int_lane_columns(int tokens) { return tokens < kIntColumns ? tokens / 2 : 8; }

typedef int HetuneInt8 __attribute__((ext_vector_type(8)));

DEVICE inline int int_row(int) { return lane_id() & 15; }
DEVICE inline int int_column(int c) { return 2 * c + (lane_id() >> 4); }

struct IntSums {
    HetuneInt8 v;
};
DEVICE inline void int_clear(IntSums& c) {
    UNROLL
    for (int i = 0; i < 8; ++i) c.v[i] = 0;
}

// Two parts of 16 bytes.
#if defined(__GFX11__)

typedef int HetuneIntPart __attribute__((ext_vector_type(4)));
DEVICE inline HetuneIntPart int_part(const u8* bytes) {
    const U4 v = load128(bytes);
    return HetuneIntPart{int(v.x), int(v.y), int(v.z), int(v.w)};
}
DEVICE inline int int_own_column() { return lane_id() & 15; }
DEVICE inline void int_mul_part(IntSums& c, HetuneIntPart row, HetuneIntPart column) {
    c.v = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, column, true, row, c.v, false);
}

#else

typedef int HetuneIntPart __attribute__((ext_vector_type(2)));
DEVICE inline HetuneIntPart int_part(const u8* bytes) {
    return *reinterpret_cast<const HetuneIntPart*>(bytes + (lane_id() >> 4) * 8);
}
// Row 8 h + i of A is this token, so that element i of C is of token 2 i + h as on gfx11.
DEVICE inline int int_own_column() { return 2 * (lane_id() & 7) + (lane_id() >> 3 & 1); }
DEVICE inline void int_mul_part(IntSums& c, HetuneIntPart row, HetuneIntPart column) {
    c.v = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, column, true, row, c.v, false);
}

#endif

struct IntRows {
    HetuneIntPart low, high;
};
using IntColumns = IntRows;
DEVICE inline IntRows int_rows(const u8* rows, int pitch) {
    const u8* own = rows + int_row(0) * pitch;
    return {int_part(own), int_part(own + 16)};
}
DEVICE inline IntColumns int_columns(const u8* bytes) {
    return {int_part(bytes), int_part(bytes + 16)};
}
DEVICE inline void int_mul_low(IntSums& c, const IntRows& a, const IntColumns& b) {
    int_mul_part(c, a.low, b.low);
}
DEVICE inline void int_mul_high(IntSums& c, const IntRows& a, const IntColumns& b) {
    int_mul_part(c, a.high, b.high);
}
DEVICE inline void int_mul(IntSums& c, const IntRows& a, const IntColumns& b) {
    int_mul_low(c, a, b);
    int_mul_high(c, a, b);
}

// Lane 2 c of the lower half-wave has token 2 c, lane 2 c of the upper one token 2 c + 1.
DEVICE inline int int_share_column(int) { return (lane_id() & 15) ^ (lane_id() >> 4); }
template <int kFrom = 0, int kCount>
DEVICE inline void int_shared(const float (&v)[1], float (&out)[kCount]) {
    if constexpr (kFrom < kCount) {
        constexpr int kRowShare = 0x150;
        out[kFrom] = float_of(
            __builtin_amdgcn_update_dpp(0, bits_of(v[0]), kRowShare + 2 * kFrom, 0xf, 0xf, true));
        int_shared<kFrom + 1>(v, out);
    }
}

#endif
