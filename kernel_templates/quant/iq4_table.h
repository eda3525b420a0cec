// The 16 values of the IQ4 formats (ggml's kvalues_iq4nl), and their look-up four at a time.
#pragma once

#include "quant/tile.h"

constexpr u32 kIq4Table[4] = {0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u};

// Four indices (bytes 0..15) to four signed bytes. Two selections of eight, and one of the two by
// bit 3 spread over its byte.
DEVICE inline u32 iq4_values(u32 index) {
    const u32 low3 = index & 0x07070707u;
    const u32 low = byte_perm(kIq4Table[0], kIq4Table[1], low3);
    const u32 high = byte_perm(kIq4Table[2], kIq4Table[3], low3);
    const u32 bit3 = (index >> 3) & 0x01010101u;
    const u32 mask = (bit3 << 8) - bit3;
    return (high & mask) | (low & ~mask);
}
#if defined(HETUNE_HOST)
inline int iq4_value(int index) {
    constexpr int kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};
    return kValues[index];
}
#endif
#if defined(HETUNE_ROW_VECTORS)
DEVICE inline RowWords iq4_values(RowWords index) { return row_lookup(kIq4Table, index); }
#endif
