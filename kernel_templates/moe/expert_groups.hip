// Sorts the slots of a step by expert and cuts each expert's run into chunks of kTokens, so that
// experts' weights are read once for several tokens. Launch: [1]; a lane looks after an expert,
// and keeps the slots' order, so that the result is the same every time. LDS: a count an expert.
#include "elementwise/step_state.h"
#include "moe/expert_chunk.h"

#ifndef HETUNE_SPEC
constexpr int kExperts = 256;
constexpr int kUsed = 8;
constexpr int kTokens = 8;
constexpr int kChunks = 320;
constexpr int kWaves = 8;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void expert_groups(
    const StepState* __restrict__ step,
    const int* __restrict__ ids,            // [rows, kUsed]
    int* __restrict__ order,                // [rows * kUsed]
    ExpertChunk* __restrict__ chunks) {     // [kChunks]
    constexpr int kThreads = kWaves * kWaveSize;
    SHARED int counts[kExperts];
    const int rows = step->rows;
    for (int e = thread_id(); e < kExperts; e += kThreads) {
        int count = 0;
        for (int row = 0; row < rows; ++row)
            UNROLL for (int k = 0; k < kUsed; ++k) count += ids[row * kUsed + k] == e;
        counts[e] = count;
    }
    barrier();
    for (int e = thread_id(); e < kExperts; e += kThreads) {
        int first = 0, chunk = 0;
        for (int before = 0; before < e; ++before) {
            first += counts[before];
            chunk += (counts[before] + kTokens - 1) / kTokens;
        }
        const int end = first + counts[e];
        for (int at = first; at < end; at += kTokens)
            chunks[chunk++] = {e, at, imin(at + kTokens, end) - 1};
        for (int row = 0; row < rows; ++row) {
            int used[kUsed];
            UNROLL for (int k = 0; k < kUsed; ++k) used[k] = ids[row * kUsed + k];
            UNROLL for (int k = 0; k < kUsed; ++k)
                if (used[k] == e) order[first++] = row * kUsed + k;
        }
        if (e == kExperts - 1)
            for (; chunk < kChunks; ++chunk) chunks[chunk] = {-1, 0, 0};
    }
}
EXPORT_KERNEL(expert_groups)
