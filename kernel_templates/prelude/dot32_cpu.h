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
// 32 products of signed bytes, neighbours added up by fours, by one factor that is made positive
// and the other that takes its sign: two products of them are at most 2 * 128 * 127, which a short
// holds.
inline CpuInts cpu_products32(const u32 (&w)[8], const u32 (&x)[8]) {
    CpuWord a, b;
    __builtin_memcpy(&a, w, sizeof a);
    __builtin_memcpy(&b, x, sizeof b);
    const CpuShorts pairs = __builtin_bit_cast(
        CpuShorts,
        __builtin_ia32_pmaddubsw256(__builtin_elementwise_abs(a), __builtin_ia32_psignb256(b, a)));
    const CpuShorts ones = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    return __builtin_bit_cast(CpuInts, __builtin_ia32_pmaddwd256(pairs, ones));
}
// dot32 of eight rows with one column.
inline void dot32_of_eight(const u32 (&w)[8][8], const u32 (&x)[8], int (&low)[8], int (&high)[8]) {
    const auto pair = [&](int r) {
        return __builtin_ia32_phaddd256(cpu_products32(w[r], x), cpu_products32(w[r + 1], x));
    };
    const CpuInts a = __builtin_ia32_phaddd256(pair(0), pair(2));
    const CpuInts b = __builtin_ia32_phaddd256(pair(4), pair(6));
    const CpuInts lows = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    const CpuInts highs = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    __builtin_memcpy(low, &lows, sizeof lows);
    __builtin_memcpy(high, &highs, sizeof highs);
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
