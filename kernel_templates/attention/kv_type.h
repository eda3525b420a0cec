// Element types of the KV cache. A position of one KV head is kHeadElements<size> elements: its
// values and, for KvQ8, their scale behind them. What load and load8 give is to be multiplied with
// scale<size>, which is 1 where a type has none; scores and weights take it in once for each key.
#pragma once

#include "prelude/prelude.h"

// What types share whose values are stored one by one.
template <class Self, class Type>
struct KvUnscaled {
    using Element = Type;
    template <int kHeadSize>
    static constexpr int kHeadElements = kHeadSize;
    template <int kHeadSize>
    DEVICE static float scale(const Element*) {
        return 1.0f;
    }
    // One head from float, by one wave.
    template <int kHeadSize>
    DEVICE static void store_head(Element* head, const float* values) {
        for (int d = lane_id(); d < kHeadSize; d += kWaveSize) head[d] = Self::element(values[d]);
    }
};

struct KvF32 : KvUnscaled<KvF32, float> {
    DEVICE static float element(float v) { return v; }
    DEVICE static float load(const Element* p) { return *p; }
    DEVICE static void load8(const Element* p, float (&v)[8]) {
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
    DEVICE static void load8(const u16* p, float (&v)[8]) {
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

// Signed bytes, and the float scale of the head's values of this position: max |v| / 127.
struct KvQ8 {
    using Element = i8;
    template <int kHeadSize>
    static constexpr int kHeadElements = kHeadSize + 4;
    template <int kHeadSize>
    DEVICE static float scale(const Element* head) {
        return *reinterpret_cast<const float*>(head + kHeadSize);
    }
    DEVICE static float load(const Element* p) { return float(*p); }
    DEVICE static void load8(const Element* p, float (&v)[8]) {
        // Heads are whole words, but no whole 8 or 16 bytes.
        const auto* words = reinterpret_cast<const u32*>(p);
        UNROLL for (int half = 0; half < 2; ++half) {
            const u32 word = words[half];
            UNROLL for (int j = 0; j < 4; ++j) v[4 * half + j] = float(i8(word >> (8 * j)));
        }
    }
    template <int kHeadSize>
    DEVICE static void store_head(Element* head, const float* values) {
        static_assert(kHeadSize % 4 == 0, "words of four values");
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
        if (lane_id() == 0) *reinterpret_cast<float*>(head + kHeadSize) = peak * (1.0f / 127.0f);
    }
};
