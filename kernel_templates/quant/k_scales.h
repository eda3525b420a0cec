// Scales and minima of Q4_K and Q5_K: two halves, and eight 6-bit pairs in 12 bytes; and their
// nibbles, which lie the same way in both.
#pragma once

#include "quant/tile.h"

template <class Word>
struct KScalesOf {
    FloatsOf<Word> d, dmin;
    Word scales[2], mins[2];  // one byte for each sub-block

    // `raw`: the first 16 bytes of the block.
    template <class Plane>
    DEVICE static KScalesOf unpack(const Plane& raw) {
        KScalesOf k;
        k.d = low_half(raw.x);
        k.dmin = high_half(raw.x);
        // Bytes 0..3 hold scales 0..3 in 6 bits, bytes 4..7 minima 0..3; their upper two bits are
        // the upper two of 4..7, whose lower four are the nibbles of bytes 8..11.
        k.scales[0] = raw.y & 0x3f3f3f3fu;
        k.mins[0] = raw.z & 0x3f3f3f3fu;
        k.scales[1] = (raw.w & 0x0f0f0f0fu) | ((raw.y >> 2) & 0x30303030u);
        k.mins[1] = ((raw.w >> 4) & 0x0f0f0f0fu) | ((raw.z >> 2) & 0x30303030u);
        return k;
    }
    DEVICE void apply(int step, QuantsOf<Word>& out) const {
        const int shift = 8 * (step & 3);
        out.scale[0] = d * field_to_float((scales[step >> 2] >> shift) & 0xffu);
        out.offset[0] = -dmin * field_to_float((mins[step >> 2] >> shift) & 0xffu);
    }
};

#if defined(HETUNE_HOST)
// In the file, byte 32 c + l of the nibbles has weight 64 c + l below and 64 c + 32 + l above; in
// the tile each run of 32 weights has 16 bytes, weight i below and 16 + i above.
inline void pack_k_nibbles(u8* planes, int lane, const u8* nibbles) {
    for (int s = 0; s < 8; ++s) {
        const u8* from = nibbles + s / 2 * 32;
        const int shift = s % 2 * 4;
        u8* to = planes + 512 * s + lane * 16;
        for (int i = 0; i < 16; ++i)
            to[i] = u8((from[i] >> shift & 15) | (from[16 + i] >> shift & 15) << 4);
    }
}
inline void unpack_k_nibbles(u8* nibbles, int lane, const u8* planes) {
    for (int s = 0; s < 8; ++s) {
        u8* to = nibbles + s / 2 * 32;
        const u8* from = planes + 512 * s + lane * 16;
        for (int i = 0; i < 16; ++i) {
            set_field(to[i], s % 2 * 4, 4, from[i] & 15);
            set_field(to[16 + i], s % 2 * 4, 4, from[i] >> 4);
        }
    }
}
// The definition, for the oracle: scale and minimum of sub-block s.
inline void k_scale_min(const u8* packed, int s, int& scale, int& min) {
    if (s < 4) {
        scale = packed[s] & 63;
        min = packed[s + 4] & 63;
    } else {
        scale = (packed[s + 4] & 15) | (packed[s - 4] >> 6) << 4;
        min = packed[s + 4] >> 4 | (packed[s] >> 6) << 4;
    }
}
#endif
