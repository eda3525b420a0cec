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
// The sum of all 32 products.
DEVICE inline int dot32(const u32 (&a)[8], const u32 (&b)[8]) {
    int low, high;
    dot32(a, b, low, high);
    return low + high;
}
