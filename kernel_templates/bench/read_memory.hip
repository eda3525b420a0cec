// Reads memory and does next to nothing else: the read bandwidth that other kernels are measured
// by. Launch: [bytes / (kPieces * kThreads * 16 * kPasses)]; a group reads consecutive bytes.
#include "prelude/prelude.h"

#ifndef HETUNE_SPEC
constexpr int kPieces = 8;  // loads of a lane in flight
constexpr int kPasses = 16;
constexpr int kWaves = 8;
#endif

constexpr int kThreads = kWaves * kWaveSize;

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void read_memory(
    const u8* __restrict__ data,  // [groups, kPasses, kPieces, kThreads, 16]
    u32* __restrict__ sums) {     // [groups, kWaves]: of the 32-bit words, so that all are needed
    const u8* own = data + (i64(group_id()) * kPasses * kPieces * kThreads + thread_id()) * 16;
    u32 sum = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
        U4 piece[kPieces];
        UNROLL
        for (int i = 0; i < kPieces; ++i)
            piece[i] = load128_stream(own + (pass * kPieces + i) * (kThreads * 16));
        UNROLL
        for (int i = 0; i < kPieces; ++i)
            sum += (piece[i].x + piece[i].y) + (piece[i].z + piece[i].w);
    }
    const int total = wave_sum(int(sum));
    if (lane_id() == 0) sums[group_id() * kWaves + (kWaves == 1 ? 0 : wave_id())] = u32(total);
}
EXPORT_KERNEL(read_memory)
