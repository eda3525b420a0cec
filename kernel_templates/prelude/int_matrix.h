// Integer matrix units: the product of 16 rows and 8 columns of signed bytes, summed in 32 bits.
//   IntRows int_rows(rows, pitch)   16 rows of 32 bytes in LDS, `pitch` bytes apart, 16-byte
//   aligned IntColumns int_columns(low, high)   a lane gives of column l / 4 the words l % 4 and 4
//   + l % 4 IntSums: v[i] of a lane is row int_row(i / 2) (of 16; int_row(2) and (3) are 16 further
//   on),
//            column int_column(i % 2)
//   int_clear(c)            c = 0
//   int_mul(c, a, b)        c[i][j] += sum of the 32 products of row i and column j
//   int_mul_low, int_mul_high   the same of the first and of the last 16
// All lanes of a wave take part in each of them. Each target has a file of its own, which defines
// HETUNE_INT_MATRIX where there is all this.
#pragma once

#include "prelude/int_matrix_target.h"
#include "prelude/prelude.h"
