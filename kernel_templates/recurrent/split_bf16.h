// Floats as sums of two bf16, for products of floats on the matrix units: 16 bits of each factor
// and the range of a float, where halves would have 11 bits and end at 65504.
#pragma once

#include "prelude/matrix.h"

// A float as the sum of two bf16.
struct Split {
    u32 high, low;  // in the lower 16 bits

    DEVICE explicit Split(float v)
        : high(float_to_bf16(v)), low(float_to_bf16(v - bf16_to_float(u16(high)))) {}
};

// A matrix in LDS, rows of kCols and padding that lets the rows of a tile meet other banks.
template <int kRows, int kCols>
struct SplitMatrix {
    static constexpr int kPitch = kCols + 8;
    static_assert(kRows % 16 == 0 && kCols % 16 == 0, "whole tiles");
    alignas(16) u16 high[kRows * kPitch];
    alignas(16) u16 low[kRows * kPitch];

    DEVICE void set(int row, int col, float v) {
        const Split split(v);
        high[row * kPitch + col] = u16(split.high);
        low[row * kPitch + col] = u16(split.low);
    }
    // Two columns at once; col is even.
    DEVICE void set2(int row, int col, float first, float second) {
        const Split a(first), b(second);
        *reinterpret_cast<u32*>(high + row * kPitch + col) = a.high | b.high << 16;
        *reinterpret_cast<u32*>(low + row * kPitch + col) = a.low | b.low << 16;
    }
};

// c += the tile of a b^T at rows row_a of a and row_b of b, over all their columns. What is left
// out is the product of the lower parts, 2^-16 of the whole.
template <int kRowsA, int kRowsB, int kCols>
DEVICE inline void multiply_split(MatC& c, const SplitMatrix<kRowsA, kCols>& a, int row_a,
                                  const SplitMatrix<kRowsB, kCols>& b, int row_b) {
    constexpr int kPitch = kCols + 8;
    const int at_a = row_a * kPitch, at_b = row_b * kPitch;
    for (int first = 0; first < kCols; first += 16) {
        const int k = pinned(first);
        const MatAB a_high = mat_load(a.high + at_a + k, kPitch),
                    b_high = mat_load(b.high + at_b + k, kPitch);
        mat_mul_bf16(c, a_high, b_high);
        mat_mul_bf16(c, a_high, mat_load(b.low + at_b + k, kPitch));
        mat_mul_bf16(c, mat_load(a.low + at_a + k, kPitch), b_high);
    }
}
