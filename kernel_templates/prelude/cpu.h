// The CPU: lanes are fibers of one thread, waves are 32 of them; also plain host C++, so that unit
// tests can call device functions that need no lanes.
#pragma once

#include "prelude/cpu_abi.h"
#include "prelude/types.h"

#define DEVICE
#define SHARED static thread_local
#define KERNEL(threads)
#define STREAM_KERNEL(threads)
#define KERNEL_RESIDENT(threads, groups)
#define INPUT __restrict__
#define UNROLL
#define ROLLED
#define EXPORT_KERNEL(name)                                                  \
    extern "C" __attribute__((visibility("default"))) void hetune_cpu_entry( \
        const unsigned char* args, HetuneLane* lane) {                       \
        hetune_lane = lane;                                                  \
        hetune_call(&name, args);                                            \
    }

// Behind EXPORT_KERNEL, where all lanes of a group but the first return at once: the first alone is
// run, on no fiber of its own. It holds for groups of one wave.
#define FIRST_LANE_ONLY(condition)                                                           \
    extern "C" __attribute__((visibility("default"))) const int hetune_cpu_first_lane_only = \
        kLanesInTurn && (condition);

inline u32 bits_of(float value) { return __builtin_bit_cast(u32, value); }
inline float float_of(u32 bits) { return __builtin_bit_cast(float, bits); }

// Set before a lane runs and again whenever it comes back from a sync.
static thread_local HetuneLane* hetune_lane = nullptr;

inline int thread_id() { return hetune_lane->thread; }
inline int lane_id() { return hetune_lane->thread & 31; }
inline int wave_id() { return hetune_lane->thread >> 5; }
inline int group_id() { return hetune_lane->group[0]; }
inline int group_id_y() { return hetune_lane->group[1]; }
inline int group_id_z() { return hetune_lane->group[2]; }

inline void hetune_sync(int kind) {
    HetuneLane* self = hetune_lane;
    self->host->sync(self, kind);
    self->calls = 0;
    hetune_lane = self;
}
inline void barrier() { hetune_sync(kHetuneBarrier); }
inline void wave_barrier() { hetune_sync(kHetuneWaveSync); }
inline int pinned(int v) { return v; }
constexpr bool kLoadsInOrder = false;
inline void loads_start() {}
inline void loads_apart() {}
inline bool skips(bool idle) { return idle; }
constexpr bool kLoadsAhead = false;
template <class T>
inline T settled(T v) {
    return v;
}
inline void start_next() {}
inline void await_inputs() {}
inline void loop_again(u64 loop, bool again) { *reinterpret_cast<i32*>(loop) = again ? 1 : 0; }
inline void prefetch(const void*) {}
inline void fence_device() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline int atomic_add_device(int* p, int v) { return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL); }

// Gives all lanes' values; valid until the exchange after the next.
template <class T>
inline const unsigned long long* hetune_exchange(T v) {
    static_assert(sizeof(T) <= 8);
    HetuneLane* self = hetune_lane;
    unsigned long long* slots = self->wave->slots[self->parity];
    self->parity ^= 1;
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &v, sizeof(T));
    slots[self->thread & 31] = bits;
    hetune_sync(kHetuneWaveSync);
    return slots;
}
template <class T>
inline T shuffle(T v, int lane) {
    const unsigned long long* slots = hetune_exchange(v);
    T result;
    __builtin_memcpy(&result, &slots[lane & 31], sizeof(T));
    return result;
}
inline u32 ballot(bool v) {
    const unsigned long long* slots = hetune_exchange(v ? 1 : 0);
    u32 lanes = 0;
    for (int lane = 0; lane < 32; ++lane) lanes |= u32(slots[lane] & 1) << lane;
    return lanes;
}
inline int bit_count(u32 v) { return __builtin_popcount(v); }
inline int lowest_bit(u32 v) { return __builtin_ctz(v); }
constexpr bool kLanesInTurn = true;
// own[i] = this lane's of values that one lane computes for all: compute(values), float
// [kValues][32]. All lanes call it with the same inputs.
template <int kValues, class Compute>
inline void wave_once(float (&own)[kValues], const Compute& compute) {
    constexpr int kMost = 16;  // between two meetings of the lanes, until the last has read them
    static thread_local float values[kMost][kValues][32];
    HetuneLane* lane = hetune_lane;
    if (lane->calls == kMost) wave_barrier();
    const int call = lane->calls++;
    if (call == lane->wave->calls) {
        ++lane->wave->calls;
        compute(values[call]);
    }
    for (int i = 0; i < kValues; ++i) own[i] = values[call][i][lane->thread & 31];
}
template <class T>
inline void wave_gather(T v, T (&all)[32]) {
    const unsigned long long* slots = hetune_exchange(v);
    for (int lane = 0; lane < 32; ++lane) __builtin_memcpy(&all[lane], &slots[lane], sizeof(T));
}
template <int kMask, class T>
inline T shuffle_xor(T v) {
    return shuffle(v, lane_id() ^ kMask);
}
// One exchange instead of five; the same tree of additions as on a GPU.
template <int kLanes, class T, class Op>
inline T wave_fold(T v, Op op) {
    const unsigned long long* slots = hetune_exchange(v);
    T values[kLanes];
    const int first = lane_id() / kLanes * kLanes;
    for (int i = 0; i < kLanes; ++i) __builtin_memcpy(&values[i], &slots[first + i], sizeof(T));
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) values[i] = op(values[2 * i], values[2 * i + 1]);
    return values[0];
}

#include "prelude/wave_extremes.h"

inline int dot4(u32 a, u32 b, int c) {
    i8 x[4], y[4];
    __builtin_memcpy(x, &a, 4);
    __builtin_memcpy(y, &b, 4);
    return c + x[0] * y[0] + x[1] * y[1] + x[2] * y[2] + x[3] * y[3];
}
#if defined(__clang__) && defined(__AVX2__)
#include "prelude/dot32_cpu.h"
#else
#include "prelude/dot32.h"
#endif
inline u32 byte_perm(u32 low, u32 high, u32 selector) {
    const u64 bytes = static_cast<u64>(high) << 32 | low;
    u32 result = 0;
    for (int k = 0; k < 4; ++k)
        result |= static_cast<u32>(bytes >> (8 * (selector >> (8 * k) & 7)) & 0xff) << (8 * k);
    return result;
}

inline U4 load128(const void* p) {
    U4 v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline U4 load128_stream(const void* p) { return load128(p); }
inline void store128(void* p, const U4& v) { __builtin_memcpy(p, &v, sizeof v); }

inline float half_to_float(u16 bits) {
#if defined(__clang__) && defined(__F16C__)
    return static_cast<float>(__builtin_bit_cast(_Float16, bits));
#else
    // Shift the exponent into place and let a multiplication renormalise subnormals.
    const u32 magnitude = static_cast<u32>(bits & 0x7fff) << 13;
    float value = float_of(magnitude) * 0x1p112f;
    if (magnitude >= 0x0f800000u) value = float_of(magnitude + 0x70000000u);  // infinity, NaN
    return float_of(bits_of(value) | static_cast<u32>(bits & 0x8000) << 16);
#endif
}
inline u16 float_to_half(float v) {
#if defined(__clang__) && defined(__F16C__)
    return __builtin_bit_cast(u16, static_cast<_Float16>(v));
#else
    const u32 bits = bits_of(v);
    const u32 sign = bits >> 16 & 0x8000;
    const u32 magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000u) return static_cast<u16>(sign | 0x7e00);
    if (magnitude >= 0x477ff000u) return static_cast<u16>(sign | 0x7c00);
    if (magnitude < 0x38800000u)  // subnormal: adding 0.5 leaves the rounded value below
        return static_cast<u16>(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u));
    return static_cast<u16>(sign |
                            ((magnitude - 0x38000000u + 0xfff + (magnitude >> 13 & 1)) >> 13));
#endif
}
inline float fast_exp2(float x) { return hetune_lane->host->exp2(x); }
inline float fast_log2(float x) { return hetune_lane->host->log2(x); }
inline float fast_rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float fast_rcp(float x) { return 1.0f / x; }
inline float fused_mul_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float round_near(float x) { return __builtin_rintf(x); }
inline int round_to_int(float x) { return static_cast<int>(__builtin_rintf(x)); }
inline void sincos_turns(float turns, float& sine, float& cosine) {
    hetune_lane->host->sincos_turns(turns, &sine, &cosine);
}

#if defined(__clang__) && defined(__AVX2__)
#include "prelude/row_vector_cpu.h"
#endif

// Arguments arrive packed as in a C struct, each at its natural alignment.
template <class... Params>
inline void hetune_call(void (*kernel)(Params...), const unsigned char* args) {
    unsigned long long at = 0;
    auto next = [&]<class T>() {
        at = (at + alignof(T) - 1) & ~(unsigned long long)(alignof(T) - 1);
        T value;
        __builtin_memcpy(&value, args + at, sizeof(T));
        at += sizeof(T);
        return value;
    };
    struct InOrder {  // braces fix the order of evaluation
        InOrder(void (*k)(Params...), Params... values) { k(values...); }
    };
    InOrder{kernel, next.template operator()<Params>()...};
}
