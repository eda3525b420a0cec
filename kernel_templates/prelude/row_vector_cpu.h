// Several rows of a matrix in one vector, each in an element of its own: what a lane computes for
// its row, written once, is computed for kVectorRows rows by the same text (quant/tile.h). The
// operators are those of the compiler's vectors. Clang only: g++ compiles the CPU's prelude for
// unit tests, whose speed does not count.
#pragma once

#define HETUNE_ROW_VECTORS

#if defined(__AVX512F__) && defined(__AVX512VNNI__)
constexpr int kVectorRows = 16;
#else
constexpr int kVectorRows = 8;
#endif
using RowWords = u32 __attribute__((vector_size(4 * kVectorRows)));
using RowInts = int __attribute__((vector_size(4 * kVectorRows)));
using RowFloats = float __attribute__((vector_size(4 * kVectorRows)));
using RowHalfWords = u16 __attribute__((vector_size(2 * kVectorRows)));
using RowHalves = _Float16 __attribute__((vector_size(2 * kVectorRows)));
using RowBytes = char __attribute__((vector_size(4 * kVectorRows)));

// 16 consecutive bytes of each row as four words.
struct RowPlane {
    RowWords x, y, z, w;
};

inline RowFloats low_half(RowWords words) {
    const RowHalfWords bits = __builtin_convertvector(words, RowHalfWords);
    return __builtin_convertvector(__builtin_bit_cast(RowHalves, bits), RowFloats);
}
inline RowFloats high_half(RowWords words) { return low_half(words >> 16); }
inline RowFloats int_to_float(RowInts v) { return __builtin_convertvector(v, RowFloats); }
inline RowInts as_int(RowWords words) { return __builtin_bit_cast(RowInts, words); }
inline RowFloats field_to_float(RowWords fields) { return int_to_float(as_int(fields)); }
inline RowFloats signed_byte_of(RowWords words, int index) {
    return int_to_float(as_int(words << (24 - 8 * index)) >> 24);
}
inline RowFloats fused_mul_add(RowFloats a, RowFloats b, RowFloats c) {
    return __builtin_elementwise_fma(a, b, c);
}
inline RowFloats fused_mul_add(RowFloats a, float b, RowFloats c) {
    return fused_mul_add(a, RowFloats{} + b, c);
}
inline RowWords in_all_rows(u32 word) { return RowWords{} + word; }

// Asks for memory that is read some microseconds later: the processor's own guesses end at each
// page, and go wrong where a tile has several planes.
constexpr int kPrefetchAhead = 4096;
inline void prefetch_ahead(const u8* p, int bytes) {
    for (int at = 0; at < bytes; at += 64) __builtin_prefetch(p + kPrefetchAhead + at);
}

// Products along K: a vector has kPartSums weights of each of kFloatRows rows, one row after
// another. part_for_rows() gives each row the same kPartSums activations.
constexpr int kPartSums = 8, kFloatRows = kVectorRows / kPartSums;
inline RowFloats halves_at(const u8* p) {
    RowHalves halves;
    __builtin_memcpy(&halves, p, sizeof halves);
    return __builtin_convertvector(halves, RowFloats);
}
inline RowFloats bf16s_at(const u8* p) {
    RowHalfWords bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return __builtin_bit_cast(RowFloats, __builtin_convertvector(bits, RowWords) << 16);
}
// Four floats of each row at `low`, and the four behind them at `high`.
inline RowFloats floats_at(const u8* low, const u8* high) {
    float all[kVectorRows];
    UNROLL
    for (int r = 0; r < kFloatRows; ++r) {
        __builtin_memcpy(all + kPartSums * r, low + 16 * r, 16);
        __builtin_memcpy(all + kPartSums * r + 4, high + 16 * r, 16);
    }
    RowFloats own;
    __builtin_memcpy(&own, all, sizeof own);
    return own;
}
inline RowFloats part_for_rows(const float* x) {
    RowFloats all;
    for (int r = 0; r < kFloatRows; ++r)
        __builtin_memcpy(reinterpret_cast<float*>(&all) + kPartSums * r, x,
                         kPartSums * sizeof(float));
    return all;
}
// Row r's partial sums, by halves.
inline float sum_of_parts(RowFloats v, int r) {
    float tree[kPartSums];
    UNROLL
    for (int i = 0; i < kPartSums; ++i) tree[i] = v[kPartSums * r + i];
    UNROLL
    for (int width = kPartSums / 2; width > 0; width /= 2) UNROLL
    for (int i = 0; i < width; ++i) tree[i] += tree[i + width];
    return tree[0];
}

// load_row_plane(p): of kVectorRows rows, whose 16 bytes lie one after another.
// row_lookup(table, index): the byte of 16 that each byte of `index` names.
// RowDots<kLargest, kSigned>(w).add(w, x, low, high): the sums of the first and the last 16
// products of each row's 32 bytes with the one column x. No byte of w is beyond kLargest, none of
// x beyond 127.
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#include "prelude/row_vector_avx512.h"
#else
#include "prelude/row_vector_avx2.h"
#endif
