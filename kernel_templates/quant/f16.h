// F16 weights as they are. Tile, 32 rows x 32: [4][32 x 16 B], eight weights a lane in each.
#pragma once

#include "quant/tile.h"

struct F16 {
    static constexpr const char* kName = "F16";
    static constexpr int kGgmlType = 1;
    static constexpr int kBlockElems = 1;
    static constexpr int kBlockBytes = 2;
    static constexpr int kTileElems = 32;
    static constexpr int kTileBytes = kTileRows * kTileElems * kBlockBytes;
    static constexpr bool kInteger = false;

    DEVICE static void load_float(const u8* tile, int lane, int, float (&w)[32]) {
        UNROLL
        for (int part = 0; part < 4; ++part) {
            const U4 raw = load128_stream(lane_row16(tile + 512 * part, lane));
            const u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
            UNROLL
            for (int j = 0; j < 4; ++j) {
                w[8 * part + 2 * j] = half_to_float(u16(words[j] & 0xffff));
                w[8 * part + 2 * j + 1] = half_to_float(u16(words[j] >> 16));
            }
        }
    }

#if defined(HETUNE_ROW_VECTORS)
    DEVICE static RowFloats load_part(const u8* tile, int first, int part) {
        return halves_at(lane_row16(tile + 512 * part, first));
    }
#endif
#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* row) { to_planes16(tile, lane, row, 4); }
    static void unpack_row(u8* row, int lane, const u8* tile) { from_planes16(row, lane, tile, 4); }
    static bool finite(const u8* block) { return half_is_finite(block); }
    static void dequantise(const u8* block, float* out) {
        *out = half_to_float(u16(block[0] | block[1] << 8));
    }
#endif
};
