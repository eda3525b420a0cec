// Q4_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.
// weight = d * scale_s * q - dmin * min_s (ggml's block_q4_K).
//
// Tile, 32 rows x 256: [32 x 16 B: d, dmin, 12 bytes of scales as in the file]
//                      [8 sub-blocks][32 x 16 B of nibbles].
#pragma once

#include "quant/k_scales.h"

struct Q4_K {
    static constexpr const char* kName = "Q4_K";
    static constexpr int kGgmlType = 12;
    static constexpr int kBlockElems = 256;
    static constexpr int kBlockBytes = 144;
    static constexpr int kTileElems = 256;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr int kLargest = 15;
    static constexpr bool kHasOffset = true;
    static constexpr int kPlanesAt = 0, kPlanes = 9, kSmalls = 0;

    template <class Word>
    using HeadOf = KScalesOf<Word>;
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        return HeadOf<WordOf<Tile>>::unpack(plane16(tile, 0, lane));
    }
    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int step,
                            QuantsOf<Word>& out) {
        split_nibbles(plane16(tile, 512 * (1 + step), lane), out.q);
        head.apply(step, out);
    }

#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* block) {
        to_planes16(tile, lane, block, 1);
        pack_k_nibbles(tile + 512, lane, block + 16);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        from_planes16(block, lane, tile, 1);
        unpack_k_nibbles(block + 16, lane, tile + 512);
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
            const int q = block[16 + k / 64 * 32 + k % 32] >> (k % 64 / 32 * 4) & 15;
            out[k] = d * float(scale) * float(q) - dmin * float(min);
        }
    }
#endif
};
