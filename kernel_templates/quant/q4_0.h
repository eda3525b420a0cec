// Q4_0: 32 nibbles and a half scale; weight = d * (q - 8) (ggml's block_q4_0).
//
// Tile, 32 rows x 32: [32 x 2 B: d][32 x 16 B of nibbles]. Byte i of the file holds weight
// i below and weight 16 + i above, which is just what dot4 wants.
#pragma once

#include "quant/tile.h"

struct Q4_0 {
    static constexpr const char* kName = "Q4_0";
    static constexpr int kGgmlType = 2;
    static constexpr int kBlockElems = 32;
    static constexpr int kBlockBytes = 18;
    static constexpr int kTileElems = 32;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr int kLargest = 15;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 64, kPlanes = 1, kSmalls = 1;

    DEVICE static u32 small(const u8* tile, int lane, int) { return half_bits_at(tile + 2 * lane); }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d;
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        return {low_half(small_of<Q4_0>(tile, lane, 0))};
    }

    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int,
                            QuantsOf<Word>& out) {
        split_nibbles(plane16(tile, 64, lane), out.q);
        out.scale[0] = head.d;
        out.offset[0] = -8.0f * head.d;
    }

#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 2 * lane, block, 2);
        to_planes16(tile + 64, lane, block + 2, 1);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block, tile + 2 * lane, 2);
        from_planes16(block + 2, lane, tile + 64, 1);
    }
    static bool finite(const u8* block) { return half_is_finite(block); }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[0] | block[1] << 8));
        for (int k = 0; k < 32; ++k)
            out[k] = d * float((block[2 + k % 16] >> (k / 16 * 4) & 15) - 8);
    }
#endif
};
