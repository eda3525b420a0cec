// Multiplies on the matrix units and does next to nothing else: the rate that GEMMs are measured
// by. Launch: any number of groups. LDS: the factors, rows padded to 24 halves.
#include "prelude/matrix.h"

#ifndef HETUNE_SPEC
constexpr int kLoops = 1024;
constexpr int kWaves = 8;
#endif

constexpr int kA = 2, kB = 4;  // products of a loop: one of each with each
constexpr int kStride = 24;

extern "C" KERNEL(kWaves* kWaveSize) void matrix_rate(
    const u16* __restrict__ factors,  // [kA + kB, 16, 16] halves
    float* __restrict__ sums) {       // [groups, kWaves]: of all products, so that all are needed
    SHARED U4 staged[(kA + kB) * 16 * kStride / 8];
    u16* tiles = reinterpret_cast<u16*>(staged);
    for (int i = thread_id(); i < (kA + kB) * 256; i += kWaves * kWaveSize)
        tiles[i / 16 * kStride + i % 16] = factors[i];
    barrier();
    MatAB a[kA], b[kB];
    UNROLL
    for (int i = 0; i < kA; ++i) a[i] = mat_load(tiles + i * 16 * kStride, kStride);
    UNROLL
    for (int j = 0; j < kB; ++j) b[j] = mat_load(tiles + (kA + j) * 16 * kStride, kStride);
    MatC c[kA][kB];
    UNROLL
    for (int i = 0; i < kA; ++i) {
        UNROLL
        for (int j = 0; j < kB; ++j) mat_clear(c[i][j]);
    }
    for (int loop = 0; loop < kLoops; ++loop) {
        UNROLL
        for (int i = 0; i < kA; ++i) {
            UNROLL
            for (int j = 0; j < kB; ++j) mat_mul(c[i][j], a[i], b[j]);
        }
    }
    float total = 0.0f;
    UNROLL
    for (int i = 0; i < kA; ++i) {
        UNROLL
        for (int j = 0; j < kB; ++j)
            mat_visit(c[i][j], [&](const MatPlace&, float& value) { total += value; });
    }
    total = wave_sum(total);
    if (lane_id() == 0) sums[group_id() * kWaves + (kWaves == 1 ? 0 : wave_id())] = total;
}
EXPORT_KERNEL(matrix_rate)
