// Q6_K: 256 weights in 16 sub-blocks of 16, each with a signed 8-bit scale.
// weight = d * scale * (q - 32) (ggml's block_q6_K).
//
// Tile, 32 rows x 256: [32 x 2 B: d][32 x 16 B of scales][4][32 x 16 B of upper bits, two_bits.h]
//                      [8 x 32 weights][32 x 16 B of nibbles, weight i below and 16 + i above].
#pragma once

#include "quant/two_bits.h"

struct Q6_K {
    static constexpr const char* kName = "Q6_K";
    static constexpr int kGgmlType = 14;
    static constexpr int kBlockElems = 256;
    static constexpr int kBlockBytes = 210;
    static constexpr int kTileElems = 256;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 16;
    static constexpr int kLargest = 63;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 64, kPlanes = 13, kSmalls = 1;

    static constexpr int kScalesAt = 64;
    static constexpr int kHighAt = kScalesAt + 512;
    static constexpr int kLowAt = kHighAt + 4 * 512;

    DEVICE static u32 small(const u8* tile, int lane, int) { return half_bits_at(tile + 2 * lane); }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d;
        Word scales[4];
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        const auto raw = plane16(tile, kScalesAt, lane);
        return {low_half(small_of<Q6_K>(tile, lane, 0)), {raw.x, raw.y, raw.z, raw.w}};
    }
    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int step,
                            QuantsOf<Word>& out) {
        Word high[8];
        load_two_bits(tile, kHighAt, lane, step, 4, high);
        split_nibbles(plane16(tile, kLowAt + 512 * step, lane), out.q);
        UNROLL
        for (int j = 0; j < 8; ++j) out.q[j] |= high[j];
        UNROLL
        for (int half = 0; half < 2; ++half) {
            out.scale[half] = head.d * signed_byte(head.scales, 2 * step + half);
            out.offset[half] = -32.0f * out.scale[half];
        }
    }

#if defined(HETUNE_HOST)
    // Where the file has the nibble of weight k.
    static int low_byte(int k) { return k / 128 * 64 + k % 64; }
    static int low_shift(int k) { return k % 128 / 64 * 4; }

    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 2 * lane, block + 208, 2);
        to_planes16(tile + kScalesAt, lane, block + 192, 1);
        pack_two_bits(tile + kHighAt, lane, block + 128);
        for (int s = 0; s < 8; ++s) {
            const u8* from = block + low_byte(32 * s);
            const int shift = low_shift(32 * s);
            u8* to = tile + kLowAt + 512 * s + lane * 16;
            for (int i = 0; i < 16; ++i)
                to[i] = u8((from[i] >> shift & 15) | (from[16 + i] >> shift & 15) << 4);
        }
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block + 208, tile + 2 * lane, 2);
        from_planes16(block + 192, lane, tile + kScalesAt, 1);
        unpack_two_bits(block + 128, lane, tile + kHighAt);
        for (int k = 0; k < 256; ++k) {
            const u8 byte = tile[kLowAt + 512 * (k / 32) + lane * 16 + k % 16];
            set_field(block[low_byte(k)], low_shift(k), 4, field(byte, k % 32 / 16 * 4, 4));
        }
    }
    static bool finite(const u8* block) { return half_is_finite(block + 208); }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[208] | block[209] << 8));
        const i8* scales = reinterpret_cast<const i8*>(block + 192);
        for (int half = 0; half < 2; ++half)
            for (int l = 0; l < 32; ++l)
                for (int part = 0; part < 4; ++part) {
                    const int low = block[64 * half + 32 * (part % 2) + l] >> (part / 2 * 4) & 15;
                    const int high = block[128 + 32 * half + l] >> (2 * part) & 3;
                    const int k = 128 * half + 32 * part + l;
                    out[k] = d * float(scales[k / 16]) * float((low | high << 4) - 32);
                }
    }
#endif
};
