// Sixteen rows in 512 bits, and AVX-512 VNNI (row_vector_cpu.h).
#pragma once

inline RowPlane load_row_plane(const u8* p) {
    RowWords a[4], b[4];
    __builtin_memcpy(a, p, sizeof a);  // a[i]: rows 4 i to 4 i + 3
    UNROLL
    for (int i = 0; i < 4; i += 2) {
        b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12,
                                       28, 13, 29);
        b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11,
                                           27, 14, 30, 15, 31);
    }
    // A column's run r has rows r, 4 + r, 8 + r and 12 + r.
    const auto in_order = [](RowWords v) {
        return __builtin_shufflevector(v, v, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    };
    const auto low_pairs = [](RowWords u, RowWords v) {
        return __builtin_shufflevector(u, v, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28,
                                       29);
    };
    const auto high_pairs = [](RowWords u, RowWords v) {
        return __builtin_shufflevector(u, v, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30,
                                       31);
    };
    return {in_order(low_pairs(b[0], b[2])), in_order(high_pairs(b[0], b[2])),
            in_order(low_pairs(b[1], b[3])), in_order(high_pairs(b[1], b[3]))};
}

inline RowWords row_lookup(const u32 (&table)[4], RowWords index) {
    RowWords all;
    UNROLL
    for (int i = 0; i < kVectorRows; ++i) all[i] = table[i % 4];
    return __builtin_bit_cast(RowWords,
                              __builtin_ia32_pshufb512(__builtin_bit_cast(RowBytes, all),
                                                       __builtin_bit_cast(RowBytes, index)));
}

// vpdpbusd multiplies bytes without a sign by bytes with one. Where w has none, it is the first.
// Else x is, with 128 added to each byte, which 128 times the sum of w takes back.
template <int kLargest, bool kSigned>
struct RowDots {
    RowInts start[2] = {};

    explicit RowDots(const RowWords (&w)[8]) {
        if constexpr (kSigned) {
            UNROLL
            for (int j = 0; j < 8; ++j)
                start[j / 4] = __builtin_ia32_vpdpbusd512(
                    start[j / 4], as_int(in_all_rows(0x80808080u)), as_int(w[j]));
            start[0] = -start[0];
            start[1] = -start[1];
        }
    }
    void add(const RowWords (&w)[8], const u32 (&x)[8], RowInts& low, RowInts& high) const {
        RowInts sums[2] = {start[0], start[1]};
        UNROLL
        for (int j = 0; j < 8; ++j) {
            const RowInts own = as_int(w[j]);
            if constexpr (kSigned)
                sums[j / 4] = __builtin_ia32_vpdpbusd512(
                    sums[j / 4], as_int(in_all_rows(x[j] ^ 0x80808080u)), own);
            else
                sums[j / 4] =
                    __builtin_ia32_vpdpbusd512(sums[j / 4], own, as_int(in_all_rows(x[j])));
        }
        low = sums[0];
        high = sums[1];
    }
};
