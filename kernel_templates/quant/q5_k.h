// Q5_K: Q4_K with a fifth bit. weight = d * scale_s * q - dmin * min_s (ggml's block_q5_K).
//
// Tile, 32 rows x 256: [32 x 16 B: d, dmin, scales][2][32 x 16 B of fifth bits: a dword for each
// sub-block][8 sub-blocks][32 x 16 B of nibbles]. Bit j of byte b of a dword of fifth bits belongs
// to weight 4 j + b, so that one shift and one mask put four of them in place.
#pragma once

#include "quant/k_scales.h"

struct Q5_K {
    static constexpr const char* kName = "Q5_K";
    static constexpr int kGgmlType = 13;
    static constexpr int kBlockElems = 256;
    static constexpr int kBlockBytes = 176;
    static constexpr int kTileElems = 256;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr int kLargest = 31;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 0, kPlanes = 11, kSmalls = 0;

    template <class Word>
    struct HeadOf {
        KScalesOf<Word> scales;
        Word high[8];
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        HeadOf<WordOf<Tile>> head;
        head.scales = KScalesOf<WordOf<Tile>>::unpack(plane16(tile, 0, lane));
        UNROLL
        for (int p = 0; p < 2; ++p) {
            const auto raw = plane16(tile, 512 * (1 + p), lane);
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
        split_nibbles(plane16(tile, 512 * (3 + step), lane), out.q);
        UNROLL
        for (int j = 0; j < 8; ++j) out.q[j] |= shifted(head.high[step], 4 - j) & 0x10101010u;
        head.scales.apply(step, out);
    }

#if defined(HETUNE_HOST)
    static u8* high_word(u8* tile, int lane, int s) {
        return tile + 512 * (1 + s / 4) + lane * 16 + s % 4 * 4;
    }
    static void pack_row(u8* tile, int lane, const u8* block) {
        to_planes16(tile, lane, block, 1);
        for (int s = 0; s < 8; ++s) {
            u8* high = high_word(tile, lane, s);
            for (int b = 0; b < 4; ++b) {
                int byte = 0;
                for (int j = 0; j < 8; ++j) byte |= (block[16 + 4 * j + b] >> s & 1) << j;
                high[b] = u8(byte);
            }
        }
        pack_k_nibbles(tile + 512 * 3, lane, block + 48);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        from_planes16(block, lane, tile, 1);
        for (int s = 0; s < 8; ++s) {
            const u8* high = high_word(const_cast<u8*>(tile), lane, s);
            for (int l = 0; l < 32; ++l)
                set_field(block[16 + l], s, 1, field(high[l % 4], l / 4, 1));
        }
        unpack_k_nibbles(block + 48, lane, tile + 512 * 3);
    }
    static bool finite(const u8* block) {
        return half_is_finite(block) && half_is_finite(block + 2);
    }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[0] | block[1] << 8));
        const float dmin = half_to_float(u16(block[2] | block[3] << 8));
        for (int k = 0; k < 256; ++k) {
            int scale, min;
            k_scale_min(block + 4, k / 32, scale, min);
            const int low = block[48 + k / 64 * 32 + k % 32] >> (k % 64 / 32 * 4) & 15;
            const int high = block[16 + k % 32] >> (k / 32) & 1;
            out[k] = d * float(scale) * float(low | high << 4) - dmin * float(min);
        }
    }
#endif
};
