// dot32 (dot32.h) with the 32 bytes in vectors of 256 bits. Clang only: g++ compiles this prelude
// for unit tests, whose speed does not count.
#pragma once

using CpuBytes = i8 __attribute__((vector_size(16)));
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
