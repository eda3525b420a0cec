// dot32 where the instruction of the target takes four bytes: two chains, which do not wait for
// each other.
#pragma once

// Sums of 32 products of signed bytes: of the first and the last 16 of each.
DEVICE inline void dot32(const u32 (&a)[8], const u32 (&b)[8], int& low, int& high) {
    low = high = 0;
    UNROLL
    for (int j = 0; j < 4; ++j) {
        low = dot4(a[j], b[j], low);
        high = dot4(a[4 + j], b[4 + j], high);
    }
}
// Eight rows of 32 bytes, as a target likes to multiply them.
struct RowWords {
    u32 rows[8][8];
    DEVICE void set(const u32 (&all)[8][8]) {
        UNROLL
        for (int r = 0; r < 8; ++r) UNROLL
        for (int j = 0; j < 8; ++j) rows[r][j] = all[r][j];
    }
};
// low[r], high[r]: the sums of row r with the one column x. kUnsigned: no byte of w is negative.
template <bool kUnsigned>
DEVICE inline void dot32_of_eight(const RowWords& w, const u32 (&x)[8], int (&low)[8],
                                  int (&high)[8]) {
    UNROLL
    for (int r = 0; r < 8; ++r) dot32(w.rows[r], x, low[r], high[r]);
}
// The sum of all 32 products.
DEVICE inline int dot32(const u32 (&a)[8], const u32 (&b)[8]) {
    int low, high;
    dot32(a, b, low, high);
    return low + high;
}
