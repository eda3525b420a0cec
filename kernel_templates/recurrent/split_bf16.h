// Floats as sums of two bf16, for products of floats on the matrix units: 16 bits of each factor and
// the range of a float, where halves would have 11 bits and end at 65504.
#pragma once

#include "prelude/matrix.h"

// The nearest bf16 of a number that is finite.
DEVICE inline u32 bf16_bits(float v) {
    const u32 bits = bits_of(v);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// A matrix in LDS, rows of kCols and padding that lets the rows of a tile meet other banks.
template <int kRows, int kCols>
struct SplitMatrix {
    static constexpr int kPitch = kCols + 8;
    static_assert(kRows % 16 == 0 && kCols % 16 == 0, "whole tiles");
    alignas(16) u16 high[kRows * kPitch];
    alignas(16) u16 low[kRows * kPitch];

    DEVICE void set(int row, int col, float v) {
        const u32 h = bf16_bits(v);
        high[row * kPitch + col] = u16(h);
        low[row * kPitch + col] = u16(bf16_bits(v - float_of(h << 16)));
    }
    // Two columns at once; col is even.
    DEVICE void set2(int row, int col, float first, float second) {
        const u32 h0 = bf16_bits(first), h1 = bf16_bits(second);
        const u32 l0 = bf16_bits(first - float_of(h0 << 16)), l1 = bf16_bits(second - float_of(h1 << 16));
        *reinterpret_cast<u32*>(high + row * kPitch + col) = h0 | h1 << 16;
        *reinterpret_cast<u32*>(low + row * kPitch + col) = l0 | l1 << 16;
    }
};

// c += the tile of a b^T at rows row_a of a and row_b of b, over all their columns. What is left out
// is the product of the lower parts, 2^-16 of the whole.
template <int kRowsA, int kRowsB, int kCols>
DEVICE inline void multiply_split(MatC& c, const SplitMatrix<kRowsA, kCols>& a, int row_a,
                                  const SplitMatrix<kRowsB, kCols>& b, int row_b) {
    constexpr int kPitch = kCols + 8;
    const int at_a = row_a * kPitch, at_b = row_b * kPitch;
    for (int first = 0; first < kCols; first += 16) {
        const int k = pinned(first);
        const MatAB a_high = mat_load(a.high + at_a + k, kPitch), b_high = mat_load(b.high + at_b + k, kPitch);
        mat_mul_bf16(c, a_high, b_high);
        mat_mul_bf16(c, a_high, mat_load(b.low + at_b + k, kPitch));
        mat_mul_bf16(c, mat_load(a.low + at_a + k, kPitch), b_high);
    }
}
