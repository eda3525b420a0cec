// Activations for matrix units: a row of halves and, behind it, the float that they are to be
// multiplied with, a power of two. So neither large activations overflow nor small ones are lost.
#pragma once

#include "prelude/prelude.h"

// [kCols halves][float][12 bytes that nobody reads]
template <int kCols>
constexpr int kHalfRowBytes = kCols * 2 + 16;

template <int kCols>
DEVICE inline float half_row_scale(const u8* row) {
    return *reinterpret_cast<const float*>(row + kCols * 2);
}
