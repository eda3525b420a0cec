// What a kernel may use: lane, wave and group ids, barrier, shuffles, wave reductions, dot4,
// 128-bit loads, half and bf16 conversion, fast exp / rsqrt / sine, device-scope atomics.
//
// The target's own file gives the primitives under these names (same list in each):
//   KERNEL(threads), or STREAM_KERNEL(threads) where it is about reading weights
//   KERNEL_RESIDENT(threads, groups): as KERNEL, with registers for so many groups of a unit at
//   once DEVICE SHARED UNROLL ROLLED EXPORT_KERNEL(name) FIRST_LANE_ONLY(condition) thread_id()
//   lane_id() wave_id() group_id()
//   group_id_y() group_id_z() INPUT start_next() await_inputs() prefetch(p): for launches that
//   overlap loop_again(loop, again): of a graph that repeats itself barrier() wave_barrier()
//   shuffle_xor<Mask>(v) shuffle(v, lane) ballot(v), bit_count(v), lowest_bit(v): v is not 0
//   wave_fold<Lanes>(v, op) wave_max(v) wave_min(v) dot4(a,
//   b, c) dot32(a, b) dot32(a, b, low, high) byte_perm(low, high, selector) load128(p)
//   load128_stream(p) store128(p, v) half_to_float float_to_half fast_exp2 fast_log2 fast_rsqrt
//   fast_rcp sincos_turns fused_mul_add round_near round_to_int bits_of float_of atomic_add_device
//   fence_device pinned settled loads_start loads_apart skips
// kLoadsAhead: whether a lane has the weights of its next steps in registers while it multiplies
// those of the current one. A CPU runs ahead by itself, and has fewer registers.
// kLanesInTurn: whether the lanes of a wave run one after another, so that an exchange costs 32
// switches and one lane does best what all would do in step.
// skips(idle): whether work whose result nobody reads is left out. The CPU leaves it out; a GPU
// does it all the same, since its waves run in step and straight code needs no branch. Nothing
// outside prelude/ knows which target it is compiled for, and no vendor header is included:
// measured, such a kernel compiles 4 times as fast as through hipRTC's own header.
#pragma once

#include "prelude/target.h"

constexpr int kWaveSize = 32;

// The first statement of a template that `overlaps`: its launches may overlap the one before up to
// await_inputs(), ahead of which only weights may be touched. Pointers to what another launch
// writes are INPUT, not __restrict__.
DEVICE inline void begin() {
    start_next();
    await_inputs();
}

DEVICE inline int imin(int a, int b) { return a < b ? a : b; }
DEVICE inline int imax(int a, int b) { return a > b ? a : b; }
DEVICE inline float fmin2(float a, float b) { return a < b ? a : b; }
DEVICE inline float fmax2(float a, float b) { return a > b ? a : b; }
DEVICE inline float fabs1(float a) { return float_of(bits_of(a) & 0x7fffffffu); }

// bf16 is the upper half of a float; rounding is to nearest even.
DEVICE inline float bf16_to_float(u16 bits) { return float_of(u32(bits) << 16); }
DEVICE inline u16 float_to_bf16(float value) {
    const u32 bits = bits_of(value);
    return u16((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

DEVICE inline float fast_exp(float x) { return fast_exp2(x * 1.44269504088896f); }
DEVICE inline float sigmoid(float x) { return fast_rcp(1.0f + fast_exp(-x)); }
DEVICE inline float silu(float x) { return x * sigmoid(x); }
// ln(1 + e^x); linear above 20, where float has nothing left of the rest.
DEVICE inline float softplus(float x) {
    return x > 20.0f ? x : fast_log2(1.0f + fast_exp(x)) * 0.693147180559945f;
}

// All 32 lanes take part in a wave reduction, and all get the result.
template <class T>
DEVICE inline T wave_sum(T v) {
    return wave_fold<32>(v, [](T a, T b) { return a + b; });
}
// Over the lanes of one half wave (0..15 and 16..31 apart).
template <class T>
DEVICE inline T half_wave_sum(T v) {
    return wave_fold<16>(v, [](T a, T b) { return a + b; });
}

// Over a group of kWaves waves through LDS; every lane gets it. Ends behind a barrier, so the same
// LDS may be used again at once.
template <int kWaves>
DEVICE inline float group_sum(float v, float* shared) {
    v = wave_sum(v);
    if constexpr (kWaves > 1) {
        if (lane_id() == 0) shared[wave_id()] = v;
        barrier();
        v = 0.0f;
        for (int w = 0; w < kWaves; ++w) v += shared[w];
        barrier();
    }
    return v;
}
template <int kWaves>
DEVICE inline float group_max(float v, float* shared) {
    v = wave_max(v);
    if constexpr (kWaves > 1) {
        if (lane_id() == 0) shared[wave_id()] = v;
        barrier();
        v = shared[0];
        for (int w = 1; w < kWaves; ++w) v = fmax2(v, shared[w]);
        barrier();
    }
    return v;
}
