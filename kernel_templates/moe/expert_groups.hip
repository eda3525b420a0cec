// Sorts the slots of a step by expert and cuts each expert's run into chunks of kTokens, so that
// experts' weights are read once for several tokens. Launch: [1]. A counting sort that keeps the
// slots' order, so that the result is the same every time: waves take the slots in equal shares,
// one after the other, count them, and put them where the counts of all say. LDS: for each wave a
// count an expert and 32 ids, and the counts of all.
#include "elementwise/step_state.h"
#include "moe/expert_chunk.h"

#ifndef HETUNE_SPEC
constexpr int kExperts = 256;
constexpr int kUsed = 8;
constexpr int kTokens = 8;
constexpr int kChunks = 320;
constexpr int kWaves = 16;
#endif

// The slots first .. end - 1, 32 at a time, by one wave. `place(slot, at)`: the slot is the one
// after at - next[expert] others; behind it `next` has counted them.
template <class Place>
DEVICE inline void count_slots(const int* ids, int first, int end, int* own, int* next,
                               Place place) {
    const int lane = lane_id();
    for (int base = first; base < end; base += kWaveSize) {
        const int slot = base + lane;
        const int id = slot < end ? ids[imin(slot, end - 1)] : -1;
        own[lane] = id;
        wave_barrier();
        int before = 0, alike = 0;
        UNROLL
        for (int j = 0; j < kWaveSize; ++j) {
            const int same = own[j] == id ? 1 : 0;
            alike += same;
            before += j < lane ? same : 0;
        }
        const int at = settled(next[imax(id, 0)]);
        wave_barrier();
        if (id >= 0) {
            place(slot, at + before);
            if (before == alike - 1) next[id] = at + alike;
        }
        wave_barrier();
    }
}

extern "C" KERNEL(kWaves* kWaveSize) void expert_groups(
    const StepState* __restrict__ step,
    const int* __restrict__ ids,         // [rows, kUsed]
    int* __restrict__ order,             // [rows * kUsed]
    ExpertChunk* __restrict__ chunks) {  // [kChunks]
    constexpr int kThreads = kWaves * kWaveSize;
    SHARED int next[kWaves][kExperts];  // slots of a wave; later where its next one goes
    SHARED int own[kWaves][kWaveSize];
    SHARED int counts[kExperts];
    const int wave = kWaves == 1 ? 0 : wave_id();
    const int slots = step->rows * kUsed;
    const int share = (slots + kThreads - 1) / kThreads * kWaveSize;
    const int first = imin(wave * share, slots), end = imin(first + share, slots);
    for (int e = lane_id(); e < kExperts; e += kWaveSize) next[wave][e] = 0;
    wave_barrier();
    count_slots(ids, first, end, own[wave], next[wave], [](int, int) {});
    barrier();
    for (int e = thread_id(); e < kExperts; e += kThreads) {
        int count = 0;
        UNROLL
        for (int w = 0; w < kWaves; ++w) {
            const int of_wave = next[w][e];
            next[w][e] = count;
            count += of_wave;
        }
        counts[e] = count;
    }
    barrier();
    for (int e = thread_id(); e < kExperts; e += kThreads) {
        int start = 0, chunk = 0;
        for (int before = 0; before < e; ++before) {
            start += counts[before];
            chunk += (counts[before] + kTokens - 1) / kTokens;
        }
        UNROLL
        for (int w = 0; w < kWaves; ++w) next[w][e] += start;
        const int behind = start + counts[e];
        for (int at = start; at < behind; at += kTokens)
            chunks[chunk++] = {e, at, imin(at + kTokens, behind) - 1};
        if (e == kExperts - 1)
            for (; chunk < kChunks; ++chunk) chunks[chunk] = {-1, 0, 0};
    }
    barrier();
    count_slots(ids, first, end, own[wave], next[wave],
                [&](int slot, int at) { order[at] = slot; });
}
EXPORT_KERNEL(expert_groups)
