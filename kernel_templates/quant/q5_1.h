// Q5_1: 32 5-bit weights, a half scale and minimum; weight = d * q + m (ggml's block_q5_1).
//
// Tile, 32 rows x 32: [32 x 4 B: d, m][32 x 4 B: fifth bits][32 x 16 B of nibbles, as in Q4_0].
#pragma once

#include "quant/tile.h"

struct Q5_1 {
    static constexpr const char* kName = "Q5_1";
    static constexpr int kGgmlType = 7;
    static constexpr int kBlockElems = 32;
    static constexpr int kBlockBytes = 24;
    static constexpr int kTileElems = 32;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr int kLargest = 31;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 256, kPlanes = 1, kSmalls = 2;

    DEVICE static u32 small(const u8* tile, int lane, int i) {
        return word_at(tile + 128 * i + 4 * lane);
    }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d, m;
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        const auto raw = small_of<Q5_1>(tile, lane, 0);
        return {low_half(raw), high_half(raw)};
    }

    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int,
                            QuantsOf<Word>& out) {
        split_nibbles(plane16(tile, 256, lane), out.q);
        const auto high = small_of<Q5_1>(tile, lane, 1);
        UNROLL
        for (int j = 0; j < 8; ++j) out.q[j] |= shifted(high, 4 - j) & 0x10101010u;
        out.scale[0] = head.d;
        out.offset[0] = head.m;
    }

#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 4 * lane, block, 4);
        // In the file bit k is weight k's; here bit j of byte b is that of weight 4 j + b.
        u8 high[4] = {};
        for (int k = 0; k < 32; ++k)
            set_field(high[k % 4], k / 4, 1, field(block[4 + k / 8], k % 8, 1));
        __builtin_memcpy(tile + 128 + 4 * lane, high, 4);
        to_planes16(tile + 256, lane, block + 8, 1);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block, tile + 4 * lane, 4);
        u8 high[4];
        __builtin_memcpy(high, tile + 128 + 4 * lane, 4);
        for (int k = 0; k < 32; ++k)
            set_field(block[4 + k / 8], k % 8, 1, field(high[k % 4], k / 4, 1));
        from_planes16(block + 8, lane, tile + 256, 1);
    }
    static bool finite(const u8* block) {
        return half_is_finite(block) && half_is_finite(block + 2);
    }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[0] | block[1] << 8));
        const float m = half_to_float(u16(block[2] | block[3] << 8));
        for (int k = 0; k < 32; ++k) {
            const int low = block[8 + k % 16] >> (k / 16 * 4) & 15;
            const int high = block[4 + k / 8] >> (k % 8) & 1;
            out[k] = float(low | high << 4) * d + m;
        }
    }
#endif
};
