// IQ4_XS: 256 table indices in 8 sub-blocks of 32, each with a 6-bit scale.
// weight = d * (scale - 32) * table[q] (ggml's block_iq4_xs).
//
// Tile, 32 rows x 256: [32 x 8 B: d, upper and lower bits of the scales, as in the file]
//                      [8 sub-blocks][32 x 16 B of nibbles, weight i below and 16 + i above].
#pragma once

#include "quant/iq4_table.h"

struct IQ4_XS {
    static constexpr const char* kName = "IQ4_XS";
    static constexpr int kGgmlType = 23;
    static constexpr int kBlockElems = 256;
    static constexpr int kBlockBytes = 136;
    static constexpr int kTileElems = 256;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr int kLargest = 127;
    static constexpr bool kHasOffset = false;
    static constexpr int kPlanesAt = 256, kPlanes = 8, kSmalls = 2;

    DEVICE static u32 small(const u8* tile, int lane, int i) {
        return word_at(tile + 8 * lane + 4 * i);
    }

    template <class Word>
    struct HeadOf {
        FloatsOf<Word> d;
        Word upper, lower;
    };
    using Head = HeadOf<u32>;
    template <class Tile>
    DEVICE static HeadOf<WordOf<Tile>> load_head(const Tile& tile, int lane) {
        const auto first = small_of<IQ4_XS>(tile, lane, 0);
        return {low_half(first), first >> 16, small_of<IQ4_XS>(tile, lane, 1)};
    }
    template <class Tile, class Word>
    DEVICE static void load(const Tile& tile, const HeadOf<Word>& head, int lane, int step,
                            QuantsOf<Word>& out) {
        split_nibbles(plane16(tile, 256 + 512 * step, lane), out.q);
        UNROLL
        for (int j = 0; j < 8; ++j) out.q[j] = iq4_values(out.q[j]);
        const Word scale = (head.lower >> (4 * step) & 15u) | (head.upper >> (2 * step) & 3u) << 4;
        out.scale[0] = head.d * int_to_float(as_int(scale) - 32);
    }

#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* block) {
        __builtin_memcpy(tile + 8 * lane, block, 8);
        to_planes16(tile + 256, lane, block + 8, 8);
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        __builtin_memcpy(block, tile + 8 * lane, 8);
        from_planes16(block + 8, lane, tile + 256, 8);
    }
    static bool finite(const u8* block) { return half_is_finite(block); }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[0] | block[1] << 8));
        const int upper = block[2] | block[3] << 8;
        for (int k = 0; k < 256; ++k) {
            const int s = k / 32;
            const int scale = (block[4 + s / 2] >> (s % 2 * 4) & 15) | (upper >> (2 * s) & 3) << 4;
            const int index = block[8 + s * 16 + k % 16] >> (k % 32 / 16 * 4) & 15;
            out[k] = d * float(scale - 32) * float(iq4_value(index));
        }
    }
#endif
};
