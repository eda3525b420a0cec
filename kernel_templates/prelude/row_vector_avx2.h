// Eight rows in 256 bits (row_vector_cpu.h).
#pragma once

using RowQuad = u32 __attribute__((vector_size(16)));
using RowShorts = short __attribute__((vector_size(32)));

inline RowPlane load_row_plane(const u8* p) {
    RowWords a[4], b[4];
    UNROLL
    for (int i = 0; i < 4; ++i) {  // rows i and i + 4, so that the columns have all in order
        RowQuad low, high;
        __builtin_memcpy(&low, p + 16 * i, sizeof low);
        __builtin_memcpy(&high, p + 16 * (i + 4), sizeof high);
        a[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    UNROLL
    for (int i = 0; i < 4; i += 2) {
        b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    return {__builtin_shufflevector(b[0], b[2], 0, 1, 8, 9, 4, 5, 12, 13),
            __builtin_shufflevector(b[0], b[2], 2, 3, 10, 11, 6, 7, 14, 15),
            __builtin_shufflevector(b[1], b[3], 0, 1, 8, 9, 4, 5, 12, 13),
            __builtin_shufflevector(b[1], b[3], 2, 3, 10, 11, 6, 7, 14, 15)};
}

inline RowWords row_lookup(const u32 (&table)[4], RowWords index) {
    RowQuad words;
    __builtin_memcpy(&words, table, sizeof words);
    const RowWords both = __builtin_shufflevector(words, words, 0, 1, 2, 3, 0, 1, 2, 3);
    return __builtin_bit_cast(RowWords,
                              __builtin_ia32_pshufb256(__builtin_bit_cast(RowBytes, both),
                                                       __builtin_bit_cast(RowBytes, index)));
}

template <int kLargest, bool kSigned>
struct RowDots {
    // Two neighbours' products fit into a short, and so do the sums of kRun such pairs.
    static constexpr int kFits = 32767 / (2 * kLargest * 127);
    static constexpr int kRun = kFits >= 4 ? 4 : kFits >= 2 ? 2 : 1;
    static_assert(kFits >= 1);

    explicit RowDots(const RowWords (&)[8]) {}

    // Signed bytes of w are made positive, and those of x take their sign.
    static RowShorts pairs(RowWords w, u32 x) {
        RowBytes a = __builtin_bit_cast(RowBytes, w),
                 b = __builtin_bit_cast(RowBytes, in_all_rows(x));
        if constexpr (kSigned) {
            b = __builtin_ia32_psignb256(b, a);
            a = __builtin_elementwise_abs(a);
        }
        return __builtin_bit_cast(RowShorts, __builtin_ia32_pmaddubsw256(a, b));
    }
    static RowInts sum_of(const RowWords* w, const u32* x) {
        const RowShorts ones = RowShorts{} + short(1);
        RowInts sum = {};
        UNROLL
        for (int j = 0; j < 4; j += kRun) {
            RowShorts run = pairs(w[j], x[j]);
            UNROLL
            for (int i = 1; i < kRun; ++i) run += pairs(w[j + i], x[j + i]);
            sum += __builtin_bit_cast(RowInts, __builtin_ia32_pmaddwd256(run, ones));
        }
        return sum;
    }
    void add(const RowWords (&w)[8], const u32 (&x)[8], RowInts& low, RowInts& high) const {
        low = sum_of(w, x);
        high = sum_of(w + 4, x + 4);
    }
};
