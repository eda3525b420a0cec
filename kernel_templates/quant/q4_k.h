// Q4_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.
// weight = d * scale_s * q - dmin * min_s (FORMATS.md 3.2; ggml's block_q4_K).
//
// Tile, 32 rows x 256: [32 x 16 B: d, dmin, 12 bytes of scales as in the file]
//                      [8 sub-blocks][32 x 16 B of nibbles].
// Dword j of a lane's 16 bytes: low nibbles are weights 4j..4j+3, high ones 16+4j..16+4j+3, so that
// one mask and one shift give what dot4 takes.
#pragma once

#include "quant/tile.h"

struct Q4_K {
    static constexpr const char* kName = "Q4_K";
    static constexpr int kGgmlType = 12;
    static constexpr int kBlockElems = 256;
    static constexpr int kBlockBytes = 144;
    static constexpr int kTileElems = 256;
    static constexpr int kTileBytes = kTileRows * kBlockBytes;
    static constexpr bool kInteger = true;
    static constexpr int kScaleElems = 32;
    static constexpr bool kHasOffset = true;

    struct Head {
        float d, dmin;
        u32 scales[2], mins[2];  // one byte for each sub-block
    };

    DEVICE static Head load_head(const u8* tile, int lane) {
        const U4 raw = load128_stream(lane_row16(tile, lane));
        Head head;
        head.d = half_to_float(u16(raw.x & 0xffff));
        head.dmin = half_to_float(u16(raw.x >> 16));
        // Bytes 0..3 hold 6-bit scales 0..3, bytes 4..7 minima 0..3; their upper two bits are the
        // upper two of 4..7, whose lower four are the nibbles of bytes 8..11.
        head.scales[0] = raw.y & 0x3f3f3f3fu;
        head.mins[0] = raw.z & 0x3f3f3f3fu;
        head.scales[1] = (raw.w & 0x0f0f0f0fu) | ((raw.y >> 2) & 0x30303030u);
        head.mins[1] = ((raw.w >> 4) & 0x0f0f0f0fu) | ((raw.z >> 2) & 0x30303030u);
        return head;
    }

    DEVICE static void load(const u8* tile, const Head& head, int lane, int step, Quants& out) {
        const U4 raw = load128_stream(lane_row16(tile + 512 * (1 + step), lane));
        const u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
        UNROLL for (int j = 0; j < 4; ++j) {
            out.q[j] = words[j] & 0x0f0f0f0fu;
            out.q[4 + j] = (words[j] >> 4) & 0x0f0f0f0fu;
        }
        const int shift = 8 * (step & 3);
        out.scale[0] = head.d * float((head.scales[step >> 2] >> shift) & 0xffu);
        out.offset[0] = -head.dmin * float((head.mins[step >> 2] >> shift) & 0xffu);
    }

#if defined(HETUNE_HOST)
    // In the file, byte 32 c + l of the nibbles has weight 64 c + l below and 64 c + 32 + l above.
    static u8* nibble(u8* tile, int lane, int k) {
        return tile + 512 * (1 + k / 32) + lane * 16 + k % 16;
    }
    static void pack_row(u8* tile, int lane, const u8* block) {
        for (int i = 0; i < 16; ++i) tile[lane * 16 + i] = block[i];
        for (int k = 0; k < 256; k += 32) {
            const u8* source = block + 16 + k / 64 * 32;
            const int shift = k % 64 / 32 * 4;
            u8* to = nibble(tile, lane, k);
            for (int i = 0; i < 16; ++i)
                to[i] = u8((source[i] >> shift & 15) | (source[16 + i] >> shift & 15) << 4);
        }
    }
    static void unpack_row(u8* block, int lane, const u8* tile) {
        for (int i = 0; i < 16; ++i) block[i] = tile[lane * 16 + i];
        for (int i = 0; i < 128; ++i) block[16 + i] = 0;
        for (int k = 0; k < 256; k += 32) {
            u8* to = block + 16 + k / 64 * 32;
            const int shift = k % 64 / 32 * 4;
            const u8* from = nibble(const_cast<u8*>(tile), lane, k);
            for (int i = 0; i < 16; ++i) {
                to[i] = u8(to[i] | (from[i] & 15) << shift);
                to[16 + i] = u8(to[16 + i] | (from[i] >> 4) << shift);
            }
        }
    }
    static void dequantise(const u8* block, float* out) {
        const float d = half_to_float(u16(block[0] | block[1] << 8));
        const float dmin = half_to_float(u16(block[2] | block[3] << 8));
        const u8* packed = block + 4;
        for (int k = 0; k < 256; ++k) {
            const int s = k / 32;
            int scale, min;
            if (s < 4) {
                scale = packed[s] & 63;
                min = packed[s + 4] & 63;
            } else {
                scale = (packed[s + 4] & 15) | (packed[s - 4] >> 6) << 4;
                min = packed[s + 4] >> 4 | (packed[s] >> 6) << 4;
            }
            const int q = block[16 + k / 64 * 32 + k % 32] >> (k % 64 / 32 * 4) & 15;
            out[k] = d * float(scale) * float(q) - dmin * float(min);
        }
    }
#endif
};
