// mma.sync.m16n8k16, twice for 16 columns ("Parallel Thread Execution ISA", matrix fragments for
// mma.m16n8k16): operands come by ldmatrix, whose four 8 x 8 parts are rows 0-7 and 8-15 of halves
// 0-7, then of halves 8-15. Element i of C is row l / 4 + 8 (i / 2 % 2), column 8 (i / 4) +
// 2 (l % 4) + i % 2.
#pragma once

struct MatAB {
    u32 v[4];
};
struct MatC {
    float v[8];
};

struct Copy16 {
    DEVICE void start(u16* lds, const void* from) {
        asm volatile(
            "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(u32(__cvta_generic_to_shared(lds))),
            "l"(from)
            : "memory");
    }
    DEVICE void finish(u16*) const {}
};
DEVICE inline void copies_finish() { asm volatile("cp.async.wait_all;" ::: "memory"); }

DEVICE inline u32 half2_of(float low, float high) {
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEVICE inline u32 half2_fma(u32 a, u32 b, u32 c) {
    u32 r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
}
DEVICE inline u32 half2_add(u32 a, u32 b) {
    u32 r;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
// A half 0x6400 | u is 1024 + u.
DEVICE inline void bytes_to_half2(u32 word, u32& low, u32& high) {
    const u32 unsigned_bytes = word ^ 0x80808080u;
    constexpr u32 kMinus1152 = 0xe480e480u;  // 1024 + 128
    low = half2_add(__byte_perm(unsigned_bytes, 0x64646464u, 0x4140u), kMinus1152);
    high = half2_add(__byte_perm(unsigned_bytes, 0x64646464u, 0x4342u), kMinus1152);
}

DEVICE inline void mat_clear(MatC& c) {
    UNROLL
    for (int i = 0; i < 8; ++i) c.v[i] = 0.0f;
}
DEVICE inline MatAB mat_load(const u16* tile, int stride) {
    const u16* row = tile + (lane_id() & 15) * stride + (lane_id() >> 4) * 8;
    MatAB m;
    load_matrices(row, m.v);
    return m;
}
#define HETUNE_MMA(type)                                                                     \
    UNROLL                                                                                   \
    for (int n = 0; n < 2; ++n)                                                              \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                               \
        ".f32 {%0, %1, %2, %3}, "                                                            \
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                      \
        : "+f"(c.v[4 * n]), "+f"(c.v[4 * n + 1]), "+f"(c.v[4 * n + 2]), "+f"(c.v[4 * n + 3]) \
        : "r"(a.v[0]), "r"(a.v[1]), "r"(a.v[2]), "r"(a.v[3]), "r"(b.v[n]), "r"(b.v[2 + n]))
DEVICE inline void mat_mul(MatC& c, const MatAB& a, const MatAB& b) { HETUNE_MMA("f16"); }
DEVICE inline void mat_mul_bf16(MatC& c, const MatAB& a, const MatAB& b) { HETUNE_MMA("bf16"); }
#undef HETUNE_MMA

constexpr int kMatRowSlots = 2;
DEVICE inline int mat_row(int slot) { return (lane_id() >> 2) + 8 * slot; }

template <class F>
DEVICE inline void mat_visit(MatC& c, F&& f) {
    UNROLL
    for (int i = 0; i < 8; ++i)
        f(MatPlace{i / 2 % 2, mat_row(i / 2 % 2), 8 * (i / 4) + 2 * (lane_id() & 3) + i % 2},
          c.v[i]);
}
template <class Op>
DEVICE inline float mat_fold_row(float v, Op op) {
    v = op(v, shuffle_xor<1>(v));
    return op(v, shuffle_xor<2>(v));
}
