// Q3_K: 256 weights in 16 sub-blocks of 16, each with a 6-bit scale.
// weight = d * (scale - 32) * (q - 4) (ggml's block_q3_K).
//
// Tile, 32 rows x 256: [32 x 2 B: d][3][32 x 4 B of scales as in the file]
//                      [2][32 x 16 B of third bits: a dword for each 32 weights, as in Q5_K]
//                      [4][32 x 16 B of lower bits, two_bits.h].
#pragma once

#include "quant/two_bits.h"

struct Q3_K {
    static constexpr const char* kName = "Q3_K";
    static constexpr int kGgmlType = 11;
    static constexpr int kBlockElems = 256;
    static constexpr int kBlockBytes = 110;
    static constexpr int kTileElems = 256;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 16;
    static constexpr int kLargest = 7;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 64 + 3 * 128, kPlanes = 6, kSmalls = 4;

    static constexpr int kScalesAt = 64;
    static constexpr int kHighAt = kScalesAt + 3 * 128;
    static constexpr int kLowAt = kHighAt + 2 * 512;

    DEVICE static u32 small(const u8* tile, int lane, int i) {
        if (i == 0) return half_bits_at(tile + 2 * lane);
        return word_at(tile + kScalesAt + 128 * (i - 1) + 4 * lane);
    }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d;
        Word scales[4];  // 16 bytes, 32 too large
        Word high[8];
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        HeadOf<WordOf<Tile>> head;
        head.d = low_half(small_of<Q3_K>(tile, lane, 0));
        const auto a = small_of<Q3_K>(tile, lane, 1);
        const auto b = small_of<Q3_K>(tile, lane, 2);
        const auto c = small_of<Q3_K>(tile, lane, 3);
        const WordOf<Tile> low[4] = {a & 0x0f0f0f0fu, b & 0x0f0f0f0fu, (a >> 4) & 0x0f0f0f0fu,
                                     (b >> 4) & 0x0f0f0f0fu};
        UNROLL
        for (int i = 0; i < 4; ++i) head.scales[i] = low[i] | (shifted(c, 4 - 2 * i) & 0x30303030u);
        UNROLL
        for (int p = 0; p < 2; ++p) {
            const auto raw = plane16(tile, kHighAt + 512 * p, lane);
            head.high[4 * p] = raw.x;
            head.high[4 * p + 1] = raw.y;
            head.high[4 * p + 2] = raw.z;
            head.high[4 * p + 3] = raw.w;
        }
        return head;
    }
    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int step,
                            QuantsOf<Word>& out) {
        load_two_bits(tile, kLowAt, lane, step, 0, out.q);
        UNROLL
        for (int j = 0; j < 8; ++j) out.q[j] |= shifted(head.high[step], 2 - j) & 0x04040404u;
        UNROLL
        for (int half = 0; half < 2; ++half) {
            out.scale[half] = head.d * (signed_byte(head.scales, 2 * step + half) - 32.0f);
            out.offset[half] = -4.0f * out.scale[half];
        }
    }

#if defined(HETUNE_HOST)
    static u8* high_word(u8* tile, int lane, int s) {
        return tile + kHighAt + 512 * (s / 4) + lane * 16 + s % 4 * 4;
    }
    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 2 * lane, block + 108, 2);
        for (int i = 0; i < 3; ++i)
            __builtin_memcpy(tile + kScalesAt + 128 * i + 4 * lane, block + 96 + 4 * i, 4);
        for (int s = 0; s < 8; ++s)
            for (int b = 0; b < 4; ++b) {
                int byte = 0;
                for (int j = 0; j < 8; ++j) byte |= (block[4 * j + b] >> s & 1) << j;
                high_word(tile, lane, s)[b] = u8(byte);
            }
        pack_two_bits(tile + kLowAt, lane, block + 32);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block + 108, tile + 2 * lane, 2);
        for (int i = 0; i < 3; ++i)
            __builtin_memcpy(block + 96 + 4 * i, tile + kScalesAt + 128 * i + 4 * lane, 4);
        for (int s = 0; s < 8; ++s)
            for (int l = 0; l < 32; ++l)
                set_field(block[l], s, 1,
                          field(high_word(const_cast<u8*>(tile), lane, s)[l % 4], l / 4, 1));
        unpack_two_bits(block + 32, lane, tile + kLowAt);
    }
    static bool finite(const u8* block) { return half_is_finite(block + 108); }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[108] | block[109] << 8));
        const u8* packed = block + 96;
        for (int k = 0; k < 256; ++k) {
            const int s = k / 16;
            const int scale =
                (packed[s % 8] >> (s / 8 * 4) & 15) | (packed[8 + s % 4] >> (s / 4 * 2) & 3) << 4;
            const int low = block[32 + k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3;
            const int high = block[k % 32] >> (k / 32) & 1;
            out[k] = d * float(scale - 32) * float(low - (high != 0 ? 0 : 4));
        }
    }
#endif
};
