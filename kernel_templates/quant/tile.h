// The contract of a quantisation, and what all of them share. One header per format
// (kernel_templates/quant/<name>.h), valid as device source and as host C++:
//
//   struct Q4_K {
//       static constexpr const char* kName = "Q4_K";
//       static constexpr int kGgmlType = 12;    // number of the type in GGUF
//       static constexpr int kBlockElems = 256; // weights of one block of the file
//       static constexpr int kBlockBytes = 144; // bytes of it
//       static constexpr int kTileBytes;        // 32 rows x one tile-K (kTileElems) of weights
//       static constexpr int kTileElems;        // weights of a row in a tile: a multiple of 32 and
//                                               // of kBlockElems
//       static constexpr bool kInteger;         // true: has load(); false: has load_float()
//       static constexpr int kScaleElems;       // 32 or 16: weights that share scale and offset
//       static constexpr int kLargest;          // no q that load() gives is beyond it, or below
//                                               // -kLargest, or below 0 where kHasOffset
//       static constexpr bool kHasOffset;
//
//       // Where kPlanes planes of [32 x 16 B] begin, and how many values besides a lane reads.
//       static constexpr int kPlanesAt, kPlanes, kSmalls;
//       DEVICE static u32 small(const u8* tile, int lane, int i);  // where kSmalls > 0
//
//       template <class Word> struct HeadOf {};      // what a lane keeps for a whole tile
//       using Head = HeadOf<u32>;
//       // `tile`: const u8*, a TileImage or TileRows, whose words are Word. All reads go through
//       // plane16 and small_of.
//       DEVICE static HeadOf<Word> load_head(const Tile& tile, int lane);
//       // The 32 weights of row `lane` at k = 32 * step: weight = scale * q + offset.
//       DEVICE static void load(const Tile& tile, const HeadOf<Word>&, int lane, int step,
//                               QuantsOf<Word>& out);
//       DEVICE static void load_float(const u8* tile, int lane, int step, float (&w)[32]);
//       // Optional, where HETUNE_ROW_VECTORS: weights 8 part .. 8 part + 7 of a tile of 32
//       // columns, of the kFloatRows rows from `first` on.
//       DEVICE static RowFloats load_part(const u8* tile, int first, int part);
//
//       // Host only. One row's blocks of one tile, and the exact inverse.
//       static void pack_row(u8* tile, int lane, const u8* blocks);
//       static void unpack_row(u8* blocks, int lane, const u8* tile);
//       // Host only, for the oracle: written apart from load(), from the format's definition.
//       static void dequantise(const u8* block, float* out);  // kBlockElems values
//       static bool finite(const u8* block);  // no scale or weight of it is NaN or infinite
//   };
//
// A tile is 32 rows by kTileElems columns. A lane owns a row: it needs no other lane for its dot
// product, activations are the same for all lanes of a wave (scalar loads on RDNA), and each load
// instruction of a wave reads 512 consecutive bytes (16 a lane). Tiles of one row tile follow one
// another along K; row tiles follow one another: [rows / 32][cols / kTileElems][kTileBytes].
// Rows beyond the matrix are zero bytes.
#pragma once

#include "prelude/prelude.h"

constexpr int kTileRows = 32;
constexpr int kStepElems = 32;  // weights of a row that one step handles

// FloatsOf<Word> has a float for each row of which Word has a word: u32 for one row, RowWords for
// kVectorRows of them (prelude/row_vector_cpu.h).
template <class Word>
struct FloatsFor {
    using Type = float;
};
#if defined(HETUNE_ROW_VECTORS)
template <>
struct FloatsFor<RowWords> {
    using Type = RowFloats;
};
#endif
template <class Word>
using FloatsOf = typename FloatsFor<Word>::Type;

// 32 consecutive weights of one row as signed bytes: q[i] holds weights 4i .. 4i+3, low byte first.
// weight[k] = scale[k / 16] * q + offset[k / 16]; where kScaleElems is 32 only [0] counts.
template <class Word>
struct QuantsOf {
    Word q[8];
    FloatsOf<Word> scale[2];
    FloatsOf<Word> offset[2];
};
using Quants = QuantsOf<u32>;

// 32 consecutive activations, quantised: x[k] = scale * q[k]. 48 bytes, so that a wave gets all of
// it with scalar loads. The sums serve formats with an offset.
struct alignas(16) XBlock {
    float scale;
    float sum;       // of the 32 dequantised values
    float sum_low;   // of the first 16
    float sum_high;  // of the last 16
    u32 q[8];
};

// A block of each of 8 rows of activations, as the integer matrix units take them: what a wave
// loads at once lies together. Word w of a row's bytes is in place xtile_place(w), so that the two
// words of a lane of mma.m16n8k32 are neighbours.
struct alignas(16) XTile {
    u32 q[8][8];
    float scales[8][2];  // scale, sum
    float halves[8][2];  // sum_low, sum_high
};
constexpr int kXTileRows = 8;
DEVICE inline int xtile_place(int word) { return 2 * (word % 4) + word / 4; }

// Where lane `lane`'s 16 bytes of 512 consecutive ones are.
DEVICE inline const u8* lane_row16(const u8* plane, int lane) { return plane + lane * 16; }

// The low nibbles of 16 bytes, then the high ones, as 8 dwords of bytes.
template <class Plane, class Word>
DEVICE inline void split_nibbles(const Plane& raw, Word (&q)[8]) {
    const Word words[4] = {raw.x, raw.y, raw.z, raw.w};
    UNROLL
    for (int j = 0; j < 4; ++j) {
        q[j] = words[j] & 0x0f0f0f0fu;
        q[4 + j] = (words[j] >> 4) & 0x0f0f0f0fu;
    }
}
// Shifts left by a compile-time amount of either sign.
template <class Word>
DEVICE inline Word shifted(Word v, int left) {
    return left >= 0 ? v << left : v >> -left;
}
// The halves of a word, a field of few bits, and an int, as floats.
DEVICE inline float low_half(u32 word) { return half_to_float(u16(word & 0xffff)); }
DEVICE inline float high_half(u32 word) { return half_to_float(u16(word >> 16)); }
DEVICE inline float field_to_float(u32 field) { return float(field); }
DEVICE inline float int_to_float(int v) { return float(v); }
DEVICE inline int as_int(u32 word) { return int(word); }
// Byte `index` of a word with its sign.
DEVICE inline float signed_byte_of(u32 word, int index) {
    return float(i8(word >> (8 * index) & 0xff));
}

DEVICE inline u32 half_bits_at(const u8* p) { return *reinterpret_cast<const u16*>(p); }
DEVICE inline u32 word_at(const u8* p) { return *reinterpret_cast<const u32*>(p); }

// All that a lane reads of a tile, in registers: its loads are on their way before the first of
// them is needed.
template <class Quant>
struct TileImage {
    U4 planes[Quant::kPlanes];
    u32 smalls[Quant::kSmalls > 0 ? Quant::kSmalls : 1];

    DEVICE void load(const u8* tile, int lane) {
        if constexpr (Quant::kSmalls > 0) {
            UNROLL
            for (int i = 0; i < Quant::kSmalls; ++i) smalls[i] = Quant::small(tile, lane, i);
        }
        UNROLL
        for (int p = 0; p < Quant::kPlanes; ++p)
            planes[p] = load128_stream(lane_row16(tile + Quant::kPlanesAt + 512 * p, lane));
    }
};

// The lane's 16 bytes of the plane at offset `at` of a tile.
DEVICE inline U4 plane16(const u8* tile, int at, int lane) {
    return load128_stream(lane_row16(tile + at, lane));
}
template <class Quant>
DEVICE inline U4 plane16(const TileImage<Quant>& tile, int at, int) {
    return tile.planes[(at - Quant::kPlanesAt) / 512];
}
// The rows of a tile, kVectorRows at a time: a lane's row is the first of them.
template <class Tile>
struct WordsFor {
    using Type = u32;
};
template <class Tile>
using WordOf = typename WordsFor<Tile>::Type;
#if defined(HETUNE_ROW_VECTORS)
struct TileRows {
    const u8* tile;
};
template <>
struct WordsFor<TileRows> {
    using Type = RowWords;
};
DEVICE inline RowPlane plane16(const TileRows& rows, int at, int first) {
    return load_row_plane(lane_row16(rows.tile + at, first));
}
template <class Quant>
DEVICE inline RowWords small_of(const TileRows& rows, int first, int i) {
    RowWords words;
    UNROLL
    for (int r = 0; r < kVectorRows; ++r) words[r] = Quant::small(rows.tile, first + r, i);
    return words;
}
#endif
template <class Quant>
DEVICE inline u32 small_of(const u8* tile, int lane, int i) {
    return Quant::small(tile, lane, i);
}
template <class Quant>
DEVICE inline u32 small_of(const TileImage<Quant>& tile, int, int i) {
    return tile.smalls[i];
}

#if defined(HETUNE_HOST)
// `count` runs of 16 consecutive bytes of a row, one to each plane of [32 x 16 B]; and back.
inline void to_planes16(u8* planes, int lane, const u8* row, int count) {
    for (int p = 0; p < count; ++p)
        __builtin_memcpy(planes + 512 * p + lane * 16, row + 16 * p, 16);
}
inline void from_planes16(u8* row, int lane, const u8* planes, int count) {
    for (int p = 0; p < count; ++p)
        __builtin_memcpy(row + 16 * p, planes + 512 * p + lane * 16, 16);
}
inline bool half_is_finite(const u8* p) { return (p[1] & 0x7c) != 0x7c; }
// Bit field `bits` wide at bit `at` of a byte.
inline int field(u8 byte, int at, int bits) { return byte >> at & ((1 << bits) - 1); }
inline void set_field(u8& byte, int at, int bits, int value) {
    const int mask = ((1 << bits) - 1) << at;
    byte = u8((byte & ~mask) | (value << at & mask));
}
#endif
