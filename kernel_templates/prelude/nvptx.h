// NVIDIA through NVRTC, warps of 32.
#pragma once

#include "prelude/types.h"

#define DEVICE __device__ __attribute__((always_inline))
#define SHARED __shared__
#define KERNEL(threads) __global__ __launch_bounds__(threads)
// ptxas would else take 32 registers for a group of 512, to have more groups resident, and wait for
// each load before the next: with 128 to 255 a wave's loads of a whole tile are in flight.
#define STREAM_KERNEL(threads) \
    __global__ __launch_bounds__(threads, (threads) < 256 ? 256 / (threads) : 1)
#define KERNEL_RESIDENT(threads, groups) __global__ __launch_bounds__(threads, groups)
// No __restrict__: loads of what nobody writes may be moved before await_inputs().
#define INPUT
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#define EXPORT_KERNEL(name)
#define FIRST_LANE_ONLY(condition)

DEVICE inline u32 bits_of(float value) { return __float_as_uint(value); }
DEVICE inline float float_of(u32 bits) { return __uint_as_float(bits); }

DEVICE inline int thread_id() { return threadIdx.x; }
DEVICE inline int lane_id() { return threadIdx.x & 31; }
// No shuffle that would make it uniform: it is also asked for where lanes have diverged, and a
// shuffle of all lanes then hung an H200.
DEVICE inline int wave_id() { return threadIdx.x >> 5; }
DEVICE inline int group_id() { return blockIdx.x; }
DEVICE inline int group_id_y() { return blockIdx.y; }
DEVICE inline int group_id_z() { return blockIdx.z; }

DEVICE inline void barrier() { __syncthreads(); }
// Orders shared-memory accesses among the lanes of one warp.
DEVICE inline void wave_barrier() { __syncwarp(); }
DEVICE inline int pinned(int v) { return v; }
// A wave waits for the loads that it needs.
constexpr bool kLoadsInOrder = false;
DEVICE inline void loads_start() {}
// ptxas starts the loads of all unrolled steps at once, and spills what the registers do not hold.
// It moves none across a barrier of the warp, but for loads through `const T* __restrict__`.
DEVICE inline void loads_apart() { __syncwarp(); }
DEVICE inline bool skips(bool) { return false; }
constexpr bool kLoadsAhead = true;
template <class T>
DEVICE inline T settled(T v) {
    return v;
}
// Programmatic dependent launch (sm_90 and newer): where the next launch may overlap this one, its
// groups come up as soon as all of this one's have, and wait until it is done.
DEVICE inline void start_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
DEVICE inline void await_inputs() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Of a graph's loop, from a launch in its body: whether the body runs once more. The driver puts
// the function in, which is the device runtime's.
extern "C" __device__ void cudaGraphSetConditional(u64 loop, u32 value);
DEVICE inline void loop_again(u64 loop, bool again) {
    cudaGraphSetConditional(loop, again ? 1 : 0);
}
DEVICE inline void prefetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
DEVICE inline void fence_device() { __threadfence(); }
DEVICE inline int atomic_add_device(int* p, int v) { return atomicAdd(p, v); }

template <int kMask, class T>
DEVICE inline T shuffle_xor(T v) {
    return __shfl_xor_sync(~0u, v, kMask);
}
template <class T>
DEVICE inline T shuffle(T v, int lane) {
    return __shfl_sync(~0u, v, lane);
}
DEVICE inline u32 ballot(bool v) { return __ballot_sync(~0u, v); }
DEVICE inline int bit_count(u32 v) { return __popc(v); }
DEVICE inline int lowest_bit(u32 v) { return __ffs(int(v)) - 1; }
#include "prelude/butterfly.h"

// Signed integers in the order of the floats; one instruction folds a warp.
DEVICE inline float wave_max(float v) {
    const auto ordered = [](int bits) { return bits ^ (bits >> 31 & 0x7fffffff); };
    return __int_as_float(ordered(__reduce_max_sync(~0u, ordered(__float_as_int(v)))));
}
DEVICE inline int wave_min(int v) { return __reduce_min_sync(~0u, v); }

DEVICE inline int dot4(u32 a, u32 b, int c) { return __dp4a(int(a), int(b), c); }
#include "prelude/dot32.h"
// PRMT selects by nibble, v_perm_b32 by byte.
DEVICE inline u32 byte_perm(u32 low, u32 high, u32 selector) {
    return __byte_perm(low, high,
                       (selector & 7u) | (selector >> 4 & 0x70u) | (selector >> 8 & 0x700u) |
                           (selector >> 12 & 0x7000u));
}

DEVICE inline U4 load128(const void* p) {
    const uint4 v = *static_cast<const uint4*>(p);
    return {v.x, v.y, v.z, v.w};
}
DEVICE inline U4 load128_stream(const void* p) {
    U4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}
// Four 8 x 8 parts of halves in LDS, as operands of mma: a lane names a row of 16 bytes.
DEVICE inline void load_matrices(const void* row, u32 (&v)[4]) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(u32(__cvta_generic_to_shared(row)))
                 : "memory");
}
DEVICE inline void store128(void* p, const U4& v) {
    *static_cast<uint4*>(p) = make_uint4(v.x, v.y, v.z, v.w);
}

DEVICE inline float half_to_float(u16 bits) {
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
    return v;
}
DEVICE inline u16 float_to_half(float v) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
}
DEVICE inline float fast_exp2(float x) { return exp2f(x); }
DEVICE inline float fast_log2(float x) { return log2f(x); }
DEVICE inline float fast_rsqrt(float x) { return rsqrtf(x); }
DEVICE inline float fast_rcp(float x) { return 1.0f / x; }
DEVICE inline float fused_mul_add(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE inline float round_near(float x) { return rintf(x); }
DEVICE inline int round_to_int(float x) { return __float2int_rn(x); }
DEVICE inline void sincos_turns(float turns, float& sine, float& cosine) {
    sincospif(2.0f * turns, &sine, &cosine);
}
