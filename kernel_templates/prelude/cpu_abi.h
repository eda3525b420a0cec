// What the CPU device and a kernel compiled for the CPU agree on. Included by both sides.
//
// A kernel is a shared object with one symbol, hetune_cpu_entry, which is called once for each lane
// of a group, on the lane's own fiber. Lanes of one group share an operating-system thread, so
// thread-local memory of the shared object is what LDS is on a GPU.
#pragma once

struct HetuneLane;

constexpr int kHetuneCpuAbi = 2;
constexpr int kHetuneLanes = 32;

// Exchange slots of one wave. Two sets, used in turn: a lane can be at most one exchange ahead.
struct HetuneWave {
    unsigned long long slots[2][kHetuneLanes];
    int calls;  // results computed for all lanes since they met last; the device sets it to 0
};

enum HetuneSync { kHetuneWaveSync = 1, kHetuneBarrier = 2, kHetuneDone = 3 };

// Functions that a kernel without a C library cannot have of its own.
struct HetuneHost {
    int abi;
    // Suspends the lane until all lanes of the wave (or group) have come here.
    void (*sync)(HetuneLane* lane, int kind);
    float (*exp2)(float);
    float (*log2)(float);
    void (*sincos_turns)(float turns, float* sine, float* cosine);
};

struct HetuneLane {
    const HetuneHost* host;
    HetuneWave* wave;
    int thread;  // in the group
    int group[3];
    int parity;   // of the next exchange
    int calls;    // results of HetuneWave::calls that this lane has taken
    void* fiber;  // the device's own
};

typedef void (*HetuneCpuEntry)(const unsigned char* args, HetuneLane* lane);
