// RDNA (wave32) through clang, hipRTC or comgr; builtins only.
#pragma once

#include "prelude/types.h"

#define DEVICE __attribute__((device)) __attribute__((always_inline))
#define SHARED __attribute__((shared))
#define KERNEL(threads) \
    __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(threads, threads)))
#define STREAM_KERNEL(threads) KERNEL(threads)
#define KERNEL_RESIDENT(threads, groups) KERNEL(threads)
#define INPUT __restrict__
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#define EXPORT_KERNEL(name)
#define FIRST_LANE_ONLY(condition)

DEVICE inline u32 bits_of(float value) { return __builtin_bit_cast(u32, value); }
DEVICE inline float float_of(u32 bits) { return __builtin_bit_cast(float, bits); }

DEVICE inline int thread_id() { return __builtin_amdgcn_workitem_id_x(); }
DEVICE inline int lane_id() { return __builtin_amdgcn_mbcnt_lo(~0u, 0); }
// The same for all lanes of a wave, and the compiler knows it: what follows from it is scalar.
DEVICE inline int wave_id() { return __builtin_amdgcn_readfirstlane(thread_id() >> 5); }
DEVICE inline int group_id() { return __builtin_amdgcn_workgroup_id_x(); }
DEVICE inline int group_id_y() { return __builtin_amdgcn_workgroup_id_y(); }
DEVICE inline int group_id_z() { return __builtin_amdgcn_workgroup_id_z(); }

DEVICE inline void barrier() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
// Orders LDS accesses among the lanes of one wave.
DEVICE inline void wave_barrier() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
// The same value, for all lanes, but no load that depends on it comes before this point: bounds how
// many values are in scalar registers at once.
DEVICE inline int pinned(int v) {
    asm volatile("" : "+s"(v));
    __builtin_amdgcn_sched_barrier(0);
    return v;
}
// A wave that waits for a load waits for all loads before it.
constexpr bool kLoadsInOrder = true;
// Loads from memory before this point start before what reads LDS behind it. (Not by a
// sched_barrier with a mask: clang 19 then moves LDS accesses across barrier().)
DEVICE inline void loads_start() { asm volatile("" : : : "memory"); }
DEVICE inline bool skips(bool) { return false; }
constexpr bool kLoadsAhead = true;
DEVICE inline void loads_apart() {}  // pinned() sees to that
// The same value, computed by all lanes here rather than by those that need it in the branch below.
// (tinygrad's RDNA3 emulator reads through the stale addresses of inactive lanes in two-address LDS
// loads.)
template <class T>
DEVICE inline T settled(T v) {
    asm volatile("" : "+v"(v));
    return v;
}
// Launches do not overlap here.
DEVICE inline void start_next() {}
DEVICE inline void await_inputs() {}
DEVICE inline void loop_again(u64, bool) {}  // graphs have no loops
DEVICE inline void prefetch(const void*) {}
DEVICE inline void fence_device() { __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "agent"); }
DEVICE inline int atomic_add_device(int* p, int v) {
    return __hip_atomic_fetch_add(p, v, __ATOMIC_ACQ_REL, __HIP_MEMORY_SCOPE_AGENT);
}

template <int kMask>
DEVICE inline int shuffle_xor(int v) {
    static_assert(kMask == 1 || kMask == 2 || kMask == 4 || kMask == 8 || kMask == 16);
    int r;
    if constexpr (kMask < 16) {
        r = __builtin_amdgcn_update_dpp(0, v, 0x160 | kMask, 0xf, 0xf, true);  // row_xmask
    } else {
        r = __builtin_amdgcn_permlanex16(v, v, 0x76543210, 0xfedcba98, false, false);
    }
    // Without this clang 19 may sink a lane exchange into a divergent branch behind it.
    asm volatile("" : "+v"(r));
    return r;
}
template <int kMask>
DEVICE inline float shuffle_xor(float v) {
    return __builtin_bit_cast(float, shuffle_xor<kMask>(__builtin_bit_cast(int, v)));
}
DEVICE inline int shuffle(int v, int lane) { return __builtin_amdgcn_ds_bpermute(lane << 2, v); }
DEVICE inline float shuffle(float v, int lane) {
    return __builtin_bit_cast(float, shuffle(__builtin_bit_cast(int, v), lane));
}
DEVICE inline u32 ballot(bool v) { return __builtin_amdgcn_ballot_w32(v); }
DEVICE inline int bit_count(u32 v) { return __builtin_popcount(v); }
DEVICE inline int lowest_bit(u32 v) { return __builtin_ctz(v); }
#include "prelude/butterfly.h"
#include "prelude/wave_extremes.h"

// c + four products of signed bytes.
DEVICE inline int dot4(u32 a, u32 b, int c) {
#if defined(__gfx1030__)
    return __builtin_amdgcn_sdot4(a, b, c, false);
#else
    return __builtin_amdgcn_sudot4(true, a, true, b, c, false);
#endif
}
#include "prelude/dot32.h"
// Byte k of the result is byte selector[k] (0..7) of {high:low} (v_perm_b32).
DEVICE inline u32 byte_perm(u32 low, u32 high, u32 selector) {
    return __builtin_amdgcn_perm(high, low, selector);
}

typedef u32 U4Vector __attribute__((ext_vector_type(4)));
// Elements go through scalars: bit_cast of a vector element read .x under clang 19 and hipRTC 6.4.
DEVICE inline U4 load128(const void* p) {
    const U4Vector v = *static_cast<const U4Vector*>(p);
    return {v.x, v.y, v.z, v.w};
}
// For bytes that are read once: they need not displace what is read again.
DEVICE inline U4 load128_stream(const void* p) {
    const U4Vector v = __builtin_nontemporal_load(static_cast<const U4Vector*>(p));
    return {v.x, v.y, v.z, v.w};
}
DEVICE inline void store128(void* p, const U4& v) {
    *static_cast<U4Vector*>(p) = U4Vector{v.x, v.y, v.z, v.w};
}

DEVICE inline float half_to_float(u16 bits) {
    return static_cast<float>(__builtin_bit_cast(_Float16, bits));
}
DEVICE inline u16 float_to_half(float v) {
    return __builtin_bit_cast(u16, static_cast<_Float16>(v));
}
DEVICE inline float fast_exp2(float x) { return __builtin_amdgcn_exp2f(x); }
DEVICE inline float fast_log2(float x) { return __builtin_amdgcn_logf(x); }
DEVICE inline float fast_rsqrt(float x) { return __builtin_amdgcn_rsqf(x); }
DEVICE inline float fast_rcp(float x) { return __builtin_amdgcn_rcpf(x); }
DEVICE inline float fused_mul_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE inline float round_near(float x) { return __builtin_rintf(x); }
DEVICE inline int round_to_int(float x) { return static_cast<int>(__builtin_rintf(x)); }
// Of an angle in turns, |turns| <= 1.
DEVICE inline void sincos_turns(float turns, float& sine, float& cosine) {
    sine = __builtin_amdgcn_sinf(turns);
    cosine = __builtin_amdgcn_cosf(turns);
}
