// mma.m16n8k32 and mma.m16n8k16 of s8 ("Parallel Thread Execution ISA"). Value i of a lane is row
// l / 4 + 8 (i / 2), column 2 (l % 4) + i % 2.
#pragma once

#define HETUNE_INT_MATRIX

constexpr int kIntColumns = 8, kIntLaneRows = 2, kIntShares = 2;
constexpr int int_lane_columns(int) { return 2; }

struct IntRows {
    u32 v[4];
};
struct IntColumns {
    u32 v[2];
};
struct IntSums {
    int v[4];
};
DEVICE inline void int_clear(IntSums& c) {
    UNROLL
    for (int i = 0; i < 4; ++i) c.v[i] = 0;
}
DEVICE inline int int_row(int r) { return (lane_id() >> 2) + 8 * r; }
DEVICE inline int int_column(int c) { return 2 * (lane_id() & 3) + c; }
// 16 rows of 32 bytes in LDS, `pitch` bytes apart.
DEVICE inline IntRows int_rows(const u8* rows, int pitch) {
    const u8* own = rows + (lane_id() & 15) * pitch + (lane_id() >> 4) * 16;
    IntRows m;
    load_matrices(own, m.v);
    return m;
}
DEVICE inline int int_own_column() { return lane_id() >> 2; }
DEVICE inline IntColumns int_columns(const u8* bytes) {
    const u32* words = reinterpret_cast<const u32*>(bytes) + (lane_id() & 3);
    return {{words[0], words[4]}};
}
// int_tile_columns() reads the bytes of an XTile, whose words are in the order of xtile_place().
DEVICE inline IntColumns int_tile_columns(const u32 (&q)[8][8]) {
    const U2 words = *reinterpret_cast<const U2*>(&q[lane_id() >> 2][2 * (lane_id() & 3)]);
    return {{words.x, words.y}};
}
// c[i][j] += sum of the 32 products of row i and column j; of the first 16; of the last 16.
DEVICE inline void int_mul(IntSums& c, const IntRows& a, const IntColumns& b) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(c.v[0]), "+r"(c.v[1]), "+r"(c.v[2]), "+r"(c.v[3])
        : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[0]), "r"(b.v[1]));
}
DEVICE inline void int_mul_part(IntSums& c, u32 a0, u32 a1, u32 b) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+r"(c.v[0]), "+r"(c.v[1]), "+r"(c.v[2]), "+r"(c.v[3])
        : "r"(a0), "r"(a1), "r"(b));
}
DEVICE inline void int_mul_low(IntSums& c, const IntRows& a, const IntColumns& b) {
    int_mul_part(c, a.v[0], a.v[1], b.v[0]);
}
DEVICE inline void int_mul_high(IntSums& c, const IntRows& a, const IntColumns& b) {
    int_mul_part(c, a.v[2], a.v[3], b.v[1]);
}

DEVICE inline int int_share_column(int i) { return int_column(i); }
DEVICE inline void int_shared(const float (&v)[2], float (&out)[2]) {
    out[0] = v[0];
    out[1] = v[1];
}
