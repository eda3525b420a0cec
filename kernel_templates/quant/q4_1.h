// Q4_1: 32 nibbles, a half scale and a half minimum; weight = d * q + m (ggml's block_q4_1).
//
// Tile, 32 rows x 32: [32 x 4 B: d, m][32 x 16 B of nibbles, as in Q4_0].
#pragma once

#include "quant/tile.h"

struct Q4_1 {
    static constexpr const char* kName = "Q4_1";
    static constexpr int kGgmlType = 3;
    static constexpr int kBlockElems = 32;
    static constexpr int kBlockBytes = 20;
    static constexpr int kTileElems = 32;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr int kLargest = 15;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 128, kPlanes = 1, kSmalls = 1;

    DEVICE static u32 small(const u8* tile, int lane, int) { return word_at(tile + 4 * lane); }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d, m;
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        const auto raw = small_of<Q4_1>(tile, lane, 0);
        return {low_half(raw), high_half(raw)};
    }

    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int,
                            QuantsOf<Word>& out) {
        split_nibbles(plane16(tile, 128, lane), out.q);
        out.scale[0] = head.d;
        out.offset[0] = head.m;
    }

#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 4 * lane, block, 4);
        to_planes16(tile + 128, lane, block + 4, 1);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block, tile + 4 * lane, 4);
        from_planes16(block + 4, lane, tile + 128, 1);
    }
    static bool finite(const u8* block) {
        return half_is_finite(block) && half_is_finite(block + 2);
    }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[0] | block[1] << 8));
        const float m = half_to_float(u16(block[2] | block[3] << 8));
        for (int k = 0; k < 32; ++k) out[k] = float(block[4 + k % 16] >> (k / 16 * 4) & 15) * d + m;
    }
#endif
};
