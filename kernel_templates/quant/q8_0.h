// Q8_0: 32 signed bytes and a half scale; weight = d * q (ggml's block_q8_0).
//
// Tile, 32 rows x 32: [32 x 2 B: d][2][32 x 16 B of q].
#pragma once

#include "quant/tile.h"

struct Q8_0 {
    static constexpr const char* kName = "Q8_0";
    static constexpr int kGgmlType = 8;
    static constexpr int kBlockElems = 32;
    static constexpr int kBlockBytes = 34;
    static constexpr int kTileElems = 32;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr int kLargest = 128;
    static constexpr bool kHasOffset = false;
    static constexpr int kPlanesAt = 64, kPlanes = 2, kSmalls = 1;

    DEVICE static u32 small(const u8* tile, int lane, int) { return half_bits_at(tile + 2 * lane); }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d;
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        return {low_half(small_of<Q8_0>(tile, lane, 0))};
    }

    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int,
                            QuantsOf<Word>& out) {
        UNROLL
        for (int half = 0; half < 2; ++half) {
            const auto raw = plane16(tile, 64 + 512 * half, lane);
            out.q[4 * half] = raw.x;
            out.q[4 * half + 1] = raw.y;
            out.q[4 * half + 2] = raw.z;
            out.q[4 * half + 3] = raw.w;
        }
        out.scale[0] = head.d;
    }

#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 2 * lane, block, 2);
        to_planes16(tile + 64, lane, block + 2, 2);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block, tile + 2 * lane, 2);
        from_planes16(block + 2, lane, tile + 64, 2);
    }
    static bool finite(const u8* block) { return half_is_finite(block); }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[0] | block[1] << 8));
        for (int k = 0; k < 32; ++k) out[k] = d * float(i8(block[2 + k]));
    }
#endif
};
