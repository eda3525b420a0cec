// F32 weights as they are. Tile, 32 rows x 32: [8][32 x 16 B], four weights a lane in each.
#pragma once

#include "quant/tile.h"

struct F32 {
    static constexpr const char* kName = "F32";
    static constexpr int kGgmlType = 0;
    static constexpr int kBlockElems = 1;
    static constexpr int kBlockBytes = 4;
    static constexpr int kTileElems = 32;
    static constexpr int kTileBytes = kTileRows * kTileElems * kBlockBytes;
    static constexpr bool kInteger = false;

    DEVICE static void load_float(const u8* tile, int lane, int, float (&w)[32]) {
        UNROLL
        for (int part = 0; part < 8; ++part) {
            const U4 raw = load128_stream(lane_row16(tile + 512 * part, lane));
            w[4 * part] = float_of(raw.x);
            w[4 * part + 1] = float_of(raw.y);
            w[4 * part + 2] = float_of(raw.z);
            w[4 * part + 3] = float_of(raw.w);
        }
    }

#if defined(HETUNE_ROW_VECTORS)
    DEVICE static RowFloats load_part(const u8* tile, int first, int part) {
        return floats_at(lane_row16(tile + 1024 * part, first),
                         lane_row16(tile + 1024 * part + 512, first));
    }
#endif
#if defined(HETUNE_HOST)
    static void pack_row(u8* tile, int lane, const u8* row) { to_planes16(tile, lane, row, 8); }
    static void unpack_row(u8* row, int lane, const u8* tile) { from_planes16(row, lane, tile, 8); }
    static bool finite(const u8* block) {
        return (block[3] & 0x7f) != 0x7f || (block[2] & 0x80) == 0;
    }
    static void dequantise(const u8* block, float* out) { __builtin_memcpy(out, block, 4); }
#endif
};
