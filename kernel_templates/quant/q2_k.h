// Q2_K: 256 weights in 16 sub-blocks of 16, each with a 4-bit scale and a 4-bit minimum.
// weight = d * scale * q - dmin * min (ggml's block_q2_K).
//
// Tile, 32 rows x 256: [32 x 4 B: d, dmin][32 x 16 B of scales and minima]
//                      [4][32 x 16 B, two_bits.h].
#pragma once

#include "quant/two_bits.h"

struct Q2_K {
    static constexpr const char* kName = "Q2_K";
    static constexpr int kGgmlType = 10;
    static constexpr int kBlockElems = 256;
    static constexpr int kBlockBytes = 84;
    static constexpr int kTileElems = 256;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 16;
    static constexpr int kLargest = 3;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 128, kPlanes = 5, kSmalls = 1;

    static constexpr int kScalesAt = 128;
    static constexpr int kLowAt = kScalesAt + 512;

    DEVICE static u32 small(const u8* tile, int lane, int) { return word_at(tile + 4 * lane); }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d, dmin;
        Word scales[4];
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        const auto halves = small_of<Q2_K>(tile, lane, 0);
        const auto raw = plane16(tile, kScalesAt, lane);
        return {low_half(halves), high_half(halves), {raw.x, raw.y, raw.z, raw.w}};
    }
    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int step,
                            QuantsOf<Word>& out) {
        load_two_bits(tile, kLowAt, lane, step, 0, out.q);
        UNROLL
        for (int half = 0; half < 2; ++half) {
            const int s = 2 * step + half;
            const Word byte = head.scales[s >> 2] >> (8 * (s & 3));
            out.scale[half] = head.d * field_to_float(byte & 15u);
            out.offset[half] = -head.dmin * field_to_float((byte >> 4) & 15u);
        }
    }

#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 4 * lane, block + 80, 4);
        to_planes16(tile + kScalesAt, lane, block, 1);
        pack_two_bits(tile + kLowAt, lane, block + 16);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block + 80, tile + 4 * lane, 4);
        from_planes16(block, lane, tile + kScalesAt, 1);
        unpack_two_bits(block + 16, lane, tile + kLowAt);
    }
    static bool finite(const u8* block) {
        return half_is_finite(block + 80) && half_is_finite(block + 82);
    }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[80] | block[81] << 8));
        const float dmin = half_to_float(u16(block[82] | block[83] << 8));
        for (int k = 0; k < 256; ++k) {
            const int q = block[16 + k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3;
            const u8 scale = block[k / 16];
            out[k] = d * float(scale & 15) * float(q) - dmin * float(scale >> 4);
        }
    }
#endif
};
