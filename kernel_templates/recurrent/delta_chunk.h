// The gated delta rule over chunks of kChunk tokens as small matrix products. With keys and queries
// normalised, G the sums of log decays within a chunk, and S the state before it,
//   A[t][i] = beta_t e^(G_t - G_i) k_t.k_i  (i < t),   T = (I + A)^-1 diag(beta)
//   W = T diag(e^G) K,   U = T V,   D = U - W S
//   y_t = e^G_t S^T q_t + sum over i <= t of e^(G_t - G_i) (q_t.k_i) d_i
//   S <- e^G_last S + sum over i of e^(G_last - G_i) k_i d_i^T
// (the WY form of DeltaNet, arXiv 2406.06484, with the decays of arXiv 2412.06464). All exponents
// are of numbers that are not positive. delta_net_prepare makes W, U and what follows from q and k
// for all chunks at once; delta_net_chunk carries S from chunk to chunk.
//
// kChunk is 32: prepare keeps keys, queries, A and T of a chunk in LDS, 41 KiB at a key size of
// 128, and the next power of two would need 98 KiB of the 64 KiB that a group may have. Products
// within a chunk also grow with kChunk: at 32 a token costs as many multiplications as token by
// token.
#pragma once

#include "prelude/prelude.h"

// What prepare leaves for one chunk of one head, in floats. Tokens that the step does not have are
// rows of zeros.
template <int kChunk, int kKeySize, int kValueSize>
struct DeltaChunk {
    static constexpr int kW = 0;                         // [kChunk, kKeySize]
    static constexpr int kQ = kW + kChunk * kKeySize;    // [kChunk, kKeySize] q_t e^G_t
    static constexpr int kK = kQ + kChunk * kKeySize;    // [kChunk, kKeySize] k_t e^(G_last - G_t)
    static constexpr int kU = kK + kChunk * kKeySize;    // [kChunk, kValueSize]
    static constexpr int kM = kU + kChunk * kValueSize;  // [kChunk, kChunk] factors of d_i in y_t
    static constexpr int kDecay = kM + kChunk * kChunk;  // e^G_last
    static constexpr int kFloats = kDecay + 16;
};

// The product of all steps: kRows rows of c = c + a b, of which a lane has one column. The rows of
// a are the same for all lanes of a wave: (row, inner) is a[row * kRowStride + inner *
// kInnerStride]. b is the lane's column.
template <int kRows, int kInner, int kRowStride, int kInnerStride, int kColumnStride>
DEVICE inline void multiply_add(float (&c)[kRows], const float* a, const float* b) {
    constexpr int kStep = kRows >= 64 ? 1 : kRows >= 32 ? 2 : 4;  // what scalar registers can hold
    static_assert(kInner % kStep == 0);
    ROLLED
    for (int first = 0; first < kInner; first += kStep) {
        const int k = pinned(first);
        float column[kStep];
        UNROLL
        for (int j = 0; j < kStep; ++j) column[j] = b[(k + j) * kColumnStride];
        UNROLL
        for (int row = 0; row < kRows; ++row) {
            UNROLL
            for (int j = 0; j < kStep; ++j)
                c[row] =
                    fused_mul_add(a[row * kRowStride + (k + j) * kInnerStride], column[j], c[row]);
        }
    }
}
