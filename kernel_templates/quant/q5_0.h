// Q5_0: 32 5-bit weights and a half scale; weight = d * (q - 16) (ggml's block_q5_0).
//
// Tile, 32 rows x 32: [32 x 2 B: d][32 x 4 B: fifth bits][32 x 16 B of nibbles, as in Q4_0].
#pragma once

#include "quant/tile.h"

struct Q5_0 {
    static constexpr const char* kName = "Q5_0";
    static constexpr int kGgmlType = 6;
    static constexpr int kBlockElems = 32;
    static constexpr int kBlockBytes = 22;
    static constexpr int kTileElems = 32;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr int kLargest = 31;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 192, kPlanes = 1, kSmalls = 2;

    DEVICE static u32 small(const u8* tile, int lane, int i) {
        return i == 0 ? half_bits_at(tile + 2 * lane) : word_at(tile + 64 + 4 * lane);
    }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d;
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        return {low_half(small_of<Q5_0>(tile, lane, 0))};
    }

    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int,
                            QuantsOf<Word>& out) {
        split_nibbles(plane16(tile, 192, lane), out.q);
        const auto high = small_of<Q5_0>(tile, lane, 1);
        UNROLL
        for (int j = 0; j < 8; ++j) out.q[j] |= shifted(high, 4 - j) & 0x10101010u;
        out.scale[0] = head.d;
        out.offset[0] = -16.0f * head.d;
    }

#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 2 * lane, block, 2);
        // In the file bit k is weight k's; here bit j of byte b is that of weight 4 j + b.
        u8 high[4] = {};
        for (int k = 0; k < 32; ++k)
            set_field(high[k % 4], k / 4, 1, field(block[2 + k / 8], k % 8, 1));
        __builtin_memcpy(tile + 64 + 4 * lane, high, 4);
        to_planes16(tile + 192, lane, block + 6, 1);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block, tile + 2 * lane, 2);
        u8 high[4];
        __builtin_memcpy(high, tile + 64 + 4 * lane, 4);
        for (int k = 0; k < 32; ++k)
            set_field(block[2 + k / 8], k % 8, 1, field(high[k % 4], k / 4, 1));
        from_planes16(block + 6, lane, tile + 192, 1);
    }
    static bool finite(const u8* block) { return half_is_finite(block); }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[0] | block[1] << 8));
        for (int k = 0; k < 32; ++k) {
            const int low = block[6 + k % 16] >> (k / 16 * 4) & 15;
            const int high = block[2 + k / 8] >> (k % 8) & 1;
            out[k] = d * float((low | high << 4) - 16);
        }
    }
#endif
};
