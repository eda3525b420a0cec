// Element types of the KV cache. A position is kRowElements<heads, size> elements: the values of its
// heads and, for KvQ8, one scale for each of them behind all. What load and load_step give is to be
// multiplied with scale(), which is 1 where a type has none; scores and weights take it in once for
// each key. `head` points to the first value of head number `number`.
#pragma once

#include "prelude/prelude.h"

// What types share whose values are stored one by one.
template <class Self, class Type>
struct KvUnscaled {
    using Element = Type;
    static constexpr int kStep = 8;  // values of one load_step
    template <int kHeads, int kHeadSize>
    static constexpr int kRowElements = kHeads * kHeadSize;
    template <int kHeads, int kHeadSize>
    DEVICE static float scale(const Element*, int) {
        return 1.0f;
    }
    // One head from float, by one wave.
    template <int kHeads, int kHeadSize>
    DEVICE static void store_head(Element* head, int, const float* values) {
        for (int d = lane_id(); d < kHeadSize; d += kWaveSize) head[d] = Self::element(values[d]);
    }
};

struct KvF32 : KvUnscaled<KvF32, float> {
    DEVICE static float element(float v) { return v; }
    DEVICE static float load(const Element* p) { return *p; }
    DEVICE static void load_step(const Element* p, float (&v)[8]) {
        UNROLL for (int half = 0; half < 2; ++half) {
            const U4 raw = load128(p + 4 * half);
            v[4 * half] = float_of(raw.x);
            v[4 * half + 1] = float_of(raw.y);
            v[4 * half + 2] = float_of(raw.z);
            v[4 * half + 3] = float_of(raw.w);
        }
    }
};

// 16-bit types differ only in the conversion.
template <float (*kToFloat)(u16), u16 (*kFromFloat)(float)>
struct Kv16 : KvUnscaled<Kv16<kToFloat, kFromFloat>, u16> {
    DEVICE static u16 element(float v) { return kFromFloat(v); }
    DEVICE static float load(const u16* p) { return kToFloat(*p); }
    DEVICE static void load_step(const u16* p, float (&v)[8]) {
        const U4 raw = load128(p);
        const u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
        UNROLL for (int j = 0; j < 4; ++j) {
            v[2 * j] = kToFloat(u16(words[j] & 0xffff));
            v[2 * j + 1] = kToFloat(u16(words[j] >> 16));
        }
    }
};
using KvF16 = Kv16<half_to_float, float_to_half>;
using KvBF16 = Kv16<bf16_to_float, float_to_bf16>;

// Signed bytes; a scale is max |v| / 127 over the values of one head at one position.
struct KvQ8 {
    using Element = i8;
    static constexpr int kStep = 16;
    template <int kHeads, int kHeadSize>
    static constexpr int kRowElements = kHeads * kHeadSize + (4 * kHeads + 15) / 16 * 16;
    template <int kHeads, int kHeadSize>
    DEVICE static float scale(const Element* head, int number) {
        return *reinterpret_cast<const float*>(head + scale_at<kHeads, kHeadSize>(number));
    }
    DEVICE static float load(const Element* p) { return float(*p); }
    DEVICE static void load_step(const Element* p, float (&v)[16]) {
        const U4 raw = load128(p);
        const u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
        UNROLL for (int j = 0; j < 16; ++j) v[j] = float(i8(words[j / 4] >> (j % 4 * 8)));
    }
    template <int kHeads, int kHeadSize>
    DEVICE static void store_head(Element* head, int number, const float* values) {
        static_assert(kHeadSize % 16 == 0, "whole loads");
        float peak = 0.0f;
        for (int base = 0; base < kHeadSize; base += kWaveSize)  // all lanes stay active
            peak = fmax2(peak, fabs1(values[imin(base + lane_id(), kHeadSize - 1)]));
        peak = wave_max(peak);
        const float inverse = peak > 0.0f ? 127.0f / peak : 0.0f;
        for (int base = 0; base < kHeadSize; base += 4 * kWaveSize) {
            const int d = imin(base + 4 * lane_id(), kHeadSize - 4);  // some words twice, alike
            u32 word = 0;
            UNROLL for (int j = 0; j < 4; ++j)
                word |= (u32(round_to_int(values[d + j] * inverse)) & 0xffu) << (8 * j);
            *reinterpret_cast<u32*>(head + d) = word;
        }
        if (lane_id() == 0)
            *reinterpret_cast<float*>(head + scale_at<kHeads, kHeadSize>(number)) = peak * (1.0f / 127.0f);
    }

  private:
    template <int kHeads, int kHeadSize>
    DEVICE static int scale_at(int number) {
        return kHeads * kHeadSize + number * (4 - kHeadSize);  // from that head's first value
    }
};
