// The layout of int_matrix_nvptx.h, lane for lane.
#pragma once

#define HETUNE_INT_MATRIX

constexpr int kIntColumns = 8, kIntLaneRows = 2, kIntShares = 2;
constexpr int int_lane_columns(int) { return 2; }

struct IntRows {
    const u8* rows;
    int pitch;
};
struct IntColumns {
    u32 v[2];
};
struct IntSums {
    int v[4];
};
inline void int_clear(IntSums& c) {
    for (int& v : c.v) v = 0;
}
inline int int_row(int r) { return (lane_id() >> 2) + 8 * r; }
inline int int_column(int c) { return 2 * (lane_id() & 3) + c; }
// The rows stay where they are: they are read when they are multiplied.
inline IntRows int_rows(const u8* rows, int pitch) { return {rows, pitch}; }
inline int int_own_column() { return lane_id() >> 2; }
inline IntColumns int_columns(const u8* bytes) {
    const u32* words = reinterpret_cast<const u32*>(bytes) + (lane_id() & 3);
    return {{words[0], words[4]}};
}
// int_tile_columns() reads the bytes of an XTile, whose words are in the order of xtile_place().
inline IntColumns int_tile_columns(const u32 (&q)[8][8]) {
    const U2 words = *reinterpret_cast<const U2*>(&q[lane_id() >> 2][2 * (lane_id() & 3)]);
    return {{words.x, words.y}};
}
// Words `from` to `to` of a row and a column.
inline void int_mul_words(IntSums& c, const IntRows& a, const IntColumns& b, int from, int to) {
    const u64 own = u64(b.v[1]) << 32 | b.v[0];
    const unsigned long long* slots = hetune_exchange(own);
    for (int i = 0; i < 4; ++i)
        for (int k = from; k < to; ++k) {
            u32 word;
            __builtin_memcpy(&word, a.rows + int_row(i / 2) * a.pitch + 4 * k, 4);
            const u64 column = slots[int_column(i % 2) * 4 + k % 4];
            c.v[i] = dot4(word, u32(k < 4 ? column : column >> 32), c.v[i]);
        }
}
inline void int_mul(IntSums& c, const IntRows& a, const IntColumns& b) {
    int_mul_words(c, a, b, 0, 8);
}
inline void int_mul_low(IntSums& c, const IntRows& a, const IntColumns& b) {
    int_mul_words(c, a, b, 0, 4);
}
inline void int_mul_high(IntSums& c, const IntRows& a, const IntColumns& b) {
    int_mul_words(c, a, b, 4, 8);
}

inline int int_share_column(int i) { return int_column(i); }
inline void int_shared(const float (&v)[2], float (&out)[2]) {
    out[0] = v[0];
    out[1] = v[1];
}
