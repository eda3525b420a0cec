// Planes of 2-bit fields, shared by Q2_K, Q3_K (low bits) and Q6_K (high bits): [4][32 x 16 B], a
// plane for each 64 weights of a row. Field m of byte b of dword i belongs to weight 16 i + 4 m + b
// of the 64.
#pragma once

#include "quant/tile.h"

// The fields of step `step`, whose planes begin at `planes`, as 8 dwords of bytes, each field
// shifted to bit `at`.
template <class Tile, class Word>
DEVICE inline void load_two_bits(const Tile& tile, int planes, int lane, int step, int at,
                                 Word (&q)[8]) {
    const auto raw = plane16(tile, planes + 512 * (step / 2), lane);
    const Word words[2] = {step % 2 == 0 ? raw.x : raw.z, step % 2 == 0 ? raw.y : raw.w};
    UNROLL
    for (int j = 0; j < 8; ++j)
        q[j] = shifted(words[j / 4], at - 2 * (j % 4)) & (0x03030303u << at);
}
// Sign-extended byte `index` of four dwords.
template <class Word>
DEVICE inline FloatsOf<Word> signed_byte(const Word (&words)[4], int index) {
    return signed_byte_of(words[index >> 2], index & 3);
}

#if defined(HETUNE_HOST)
// In the file, weight k has bits 2 (k % 128 / 32) of byte 32 (k / 128) + k % 32.
inline void pack_two_bits(u8* planes, int lane, const u8* bits) {
    for (int p = 0; p < 4; ++p) {
        u8* to = planes + 512 * p + lane * 16;
        for (int i = 0; i < 16; ++i) {
            int byte = 0;
            for (int m = 0; m < 4; ++m) {
                const int k = 64 * p + 16 * (i / 4) + 4 * m + i % 4;
                byte |= (bits[k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3) << (2 * m);
            }
            to[i] = u8(byte);
        }
    }
}
inline void unpack_two_bits(u8* bits, int lane, const u8* planes) {
    for (int k = 0; k < 256; ++k) {
        const u8 byte = planes[512 * (k / 64) + lane * 16 + k % 64 / 16 * 4 + k % 4];
        set_field(bits[k / 128 * 32 + k % 32], k % 128 / 32 * 2, 2, field(byte, k % 16 / 4 * 2, 2));
    }
}
#endif
