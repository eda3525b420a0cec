// Matrix units: the product of two 16 x 16 tiles of halves, summed in float. A kernel never sees
// which lane holds what:
//   MatAB        16 rows of 16 halves; as the second factor its rows are the columns of the product
//   MatC         16 x 16 floats
//   mat_load(tile, stride)   MatAB from LDS: row r at tile + r * stride (halves; 16-byte aligned)
//   mat_clear(c)             c = 0
//   mat_mul(c, a, b)         c[i][j] += sum over k of a[i][k] * b[j][k]
//   mat_mul_bf16(c, a, b)    the same where the 16 bits of a and b are bf16, not half
//   mat_visit(c, f)          f(at, value&) for each element that this lane holds: at.row, at.col,
//   and
//                            at.slot, the same number for elements of one row
//   kMatRowSlots, mat_row(slot)  how many rows a lane has elements of, and which
//   mat_fold_row(v, op)      op over the lanes that hold elements of the same row
// All lanes of a wave take part in each of them. 16 bytes from memory to LDS, through registers or
// past them:
//   Copy16 c: c.start(lds, from) early, c.finish(lds) when they are due; both to the same place,
//   which nobody reads in between; copies_finish() before the barrier behind which they are read
// And two halves in one register:
//   half2_of(low, high) half2_fma(a, b, c) half2_add(a, b)
//   bytes_to_half2(word, low, high)   four signed bytes, exactly
// Each target has a file of its own; where it has no matrix unit (gfx1030) there is none of this.
#pragma once

#include "prelude/prelude.h"

struct MatPlace {
    int slot, row, col;
};

#include "prelude/matrix_target.h"
