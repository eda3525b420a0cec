// Integer matrix units: products of 16 rows of W with kIntColumns tokens, bytes summed in 32 bits.
// A lane holds sums of kIntLaneRows rows and int_lane_columns(tokens) tokens.
//   int_row(r)              the row (of 16) of the lane's sums number r of rows
//   int_column(c)           the token of the lane's sums number c of tokens
//   IntRows int_rows(rows, pitch)   16 rows of 32 bytes in LDS, 16-byte aligned, `pitch` apart
//   int_own_column()        the token whose bytes the lane gives
//   IntColumns int_columns(bytes)   from 32 bytes of that token, 16-byte aligned
//   IntSums                 v[r * int_lane_columns(tokens) + c]
//   int_clear(c)            c = 0
//   int_mul(c, a, b)        c[i][j] += sum of the 32 products of row i and column j
//   int_mul_low, int_mul_high   the same of the first and of the last 16
// Values of a token, such as its scales, that each lane needs for all of its sums:
//   int_share_column(i)     the token whose values the lane gives as number i of kIntShares
//   int_shared(v, out)      out[c] = the value of token int_column(c)
// All lanes of a wave take part in each of them. Each target has a file of its own, which defines
// HETUNE_INT_MATRIX where there is all this.
#pragma once

#include "prelude/int_matrix_target.h"
#include "prelude/prelude.h"
