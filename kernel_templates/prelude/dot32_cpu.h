// dot32 (dot32.h) with the 32 bytes in vectors of 256 bits. Clang only: g++ compiles this prelude
// for unit tests, whose speed does not count.
#pragma once

using CpuBytes = i8 __attribute__((vector_size(16)));
using CpuWord = char __attribute__((vector_size(32)));
using CpuShorts = short __attribute__((vector_size(32)));
using CpuInts = int __attribute__((vector_size(32)));
using CpuHalfInts = int __attribute__((vector_size(16)));

// 16 products of signed bytes, neighbours added up. A product of two bytes and the sum of two of
// them fit, so vpmaddwd is exact, which vpmaddubsw is not.
inline CpuInts cpu_products(const u32* a, const u32* b) {
    CpuBytes x, y;
    __builtin_memcpy(&x, a, sizeof x);
    __builtin_memcpy(&y, b, sizeof y);
    return __builtin_bit_cast(CpuInts,
                              __builtin_ia32_pmaddwd256(__builtin_convertvector(x, CpuShorts),
                                                        __builtin_convertvector(y, CpuShorts)));
}
// Eight rows of 32 bytes, word by word: a vector has one word of each.
struct RowWords {
    CpuInts words[8];
    inline void set(const u32 (&rows)[8][8]);
};
inline void RowWords::set(const u32 (&rows)[8][8]) {
    CpuInts v[8], w[8];
    __builtin_memcpy(v, rows, sizeof v);
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        w[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        w[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4) UNROLL
    for (int k = 0; k < 2; ++k) {
        const CpuInts a = w[i + k], b = w[i + k + 2];
        v[i + 2 * k] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
        v[i + 2 * k + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
    UNROLL
    for (int i = 0; i < 4; ++i) {
        words[i] = __builtin_shufflevector(v[i], v[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        words[i + 4] = __builtin_shufflevector(v[i], v[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}
// sums[r] += the 4 products of bytes of w[r] and x. Where kUnsigned, no byte of w is negative;
// else the factor w is made positive, and x takes its sign. Two products are at most
// 2 * 128 * 127, which a short holds.
template <bool kUnsigned>
inline CpuInts cpu_add_products(CpuInts sums, CpuInts w, u32 x) {
    const int word = int(x);
    const CpuInts all = {word, word, word, word, word, word, word, word};
    CpuWord a = __builtin_bit_cast(CpuWord, w), b = __builtin_bit_cast(CpuWord, all);
    if constexpr (!kUnsigned) {
        b = __builtin_ia32_psignb256(b, a);
        a = __builtin_elementwise_abs(a);
    }
    const CpuShorts pairs = __builtin_bit_cast(CpuShorts, __builtin_ia32_pmaddubsw256(a, b));
    const CpuShorts ones = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    return sums + __builtin_bit_cast(CpuInts, __builtin_ia32_pmaddwd256(pairs, ones));
}
// low[r], high[r]: dot32 of row r with the one column x.
template <bool kUnsigned>
inline void dot32_of_eight(const RowWords& w, const u32 (&x)[8], int (&low)[8], int (&high)[8]) {
    CpuInts sums[2] = {};
    UNROLL
    for (int j = 0; j < 8; ++j)
        sums[j / 4] = cpu_add_products<kUnsigned>(sums[j / 4], w.words[j], x[j]);
    __builtin_memcpy(low, &sums[0], sizeof low);
    __builtin_memcpy(high, &sums[1], sizeof high);
}
inline int cpu_sum(CpuInts v) {
    CpuHalfInts s = __builtin_shufflevector(v, v, 0, 1, 2, 3);
    s += __builtin_shufflevector(v, v, 4, 5, 6, 7);
    s += __builtin_shufflevector(s, s, 2, 3, 2, 3);
    return s[0] + s[1];
}
inline void dot32(const u32 (&a)[8], const u32 (&b)[8], int& low, int& high) {
    low = cpu_sum(cpu_products(a, b));
    high = cpu_sum(cpu_products(a + 4, b + 4));
}
inline int dot32(const u32 (&a)[8], const u32 (&b)[8]) {
    return cpu_sum(cpu_products(a, b) + cpu_products(a + 4, b + 4));
}
