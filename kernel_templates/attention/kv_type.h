// Element types of the KV cache. A position is kRowElements<heads, size> elements: the values of
// its heads and, for KvQ8, one scale for each of them behind all. What load and load_step give is
// to be multiplied with scale(), which is 1 where a type has none; scores and weights take it in
// once for each key. `head` points to the first value of head number `number`.
#pragma once

#include "quant/row_values.h"

// kBytes from p on, which is a multiple of their largest power of two (of 16 at most), in words.
template <int kBytes>
DEVICE inline void load_words(const void* p, u32 (&words)[kBytes / 4]) {
    static_assert(kBytes % 4 == 0);
    const auto* from = static_cast<const u8*>(p);
    UNROLL
    for (int at = 0; at < kBytes / 4;) {
        if constexpr (kBytes % 16 == 0) {
            const U4 raw = load128(from + 4 * at);
            words[at] = raw.x;
            words[at + 1] = raw.y;
            words[at + 2] = raw.z;
            words[at + 3] = raw.w;
            at += 4;
        } else if constexpr (kBytes % 8 == 0) {
            const u64 raw = *reinterpret_cast<const u64*>(from + 4 * at);
            words[at] = u32(raw);
            words[at + 1] = u32(raw >> 32);
            at += 2;
        } else {
            words[at] = *reinterpret_cast<const u32*>(from + 4 * at);
            ++at;
        }
    }
}

// What types share whose values are stored one by one. load_run is load_step for any count of
// values that begin at a multiple of it.
template <class Self, class Type>
struct KvUnscaled {
    using Element = Type;
    static constexpr int kStep = 8;  // values of one load_step
    template <int kHeads, int kHeadSize>
    static constexpr int kRowElements = kHeads* kHeadSize;
    template <int kHeads, int kHeadSize>
    DEVICE static float scale(const Element*, int) {
        return 1.0f;
    }
    // One head from float, by one wave; by its first lane where the lanes run one after another.
    template <int kHeads, int kHeadSize>
    DEVICE static void store_head(Element* head, int, const float* values) {
        if (is_idle_lane()) return;
        for (int d = lane_start(); d < kHeadSize; d += kLaneStride)
            head[d] = Self::element(values[d]);
    }
};

struct KvF32 : KvUnscaled<KvF32, float> {
    DEVICE static float element(float v) { return v; }
    DEVICE static float load(const Element* p) { return *p; }
    template <int kCount>
    DEVICE static void load_run(const Element* p, float (&v)[kCount]) {
        u32 words[kCount];
        load_words<4 * kCount>(p, words);
        UNROLL
        for (int j = 0; j < kCount; ++j) v[j] = float_of(words[j]);
    }
    DEVICE static void load_step(const Element* p, float (&v)[8]) { load_run(p, v); }
};

// 16-bit types differ only in the conversion.
template <float (*kToFloat)(u16), u16 (*kFromFloat)(float)>
struct Kv16 : KvUnscaled<Kv16<kToFloat, kFromFloat>, u16> {
    DEVICE static u16 element(float v) { return kFromFloat(v); }
    DEVICE static float load(const u16* p) { return kToFloat(*p); }
    template <int kCount>
    DEVICE static void load_run(const u16* p, float (&v)[kCount]) {
        if constexpr (kCount % 2 != 0) {
            UNROLL
            for (int j = 0; j < kCount; ++j) v[j] = load(p + j);
        } else {
            u32 words[kCount / 2];
            load_words<2 * kCount>(p, words);
            UNROLL
            for (int j = 0; j < kCount / 2; ++j) {
                v[2 * j] = kToFloat(u16(words[j] & 0xffff));
                v[2 * j + 1] = kToFloat(u16(words[j] >> 16));
            }
        }
    }
    DEVICE static void load_step(const u16* p, float (&v)[8]) { load_run(p, v); }
};
using KvF16 = Kv16<half_to_float, float_to_half>;
using KvBF16 = Kv16<bf16_to_float, float_to_bf16>;

// Signed bytes; a scale is max |v| / 127 over the values of one head at one position.
struct KvQ8 {
    using Element = i8;
    static constexpr int kStep = 16;
    template <int kHeads, int kHeadSize>
    static constexpr int kRowElements = kHeads* kHeadSize + (4 * kHeads + 15) / 16 * 16;
    template <int kHeads, int kHeadSize>
    DEVICE static float scale(const Element* head, int number) {
        return *reinterpret_cast<const float*>(head + scale_at<kHeads, kHeadSize>(number));
    }
    DEVICE static float load(const Element* p) { return float(*p); }
    template <int kCount>
    DEVICE static void load_run(const Element* p, float (&v)[kCount]) {
        if constexpr (kCount % 4 != 0) {
            UNROLL
            for (int j = 0; j < kCount; ++j) v[j] = load(p + j);
        } else {
            u32 words[kCount / 4];
            load_words<kCount>(p, words);
            UNROLL
            for (int j = 0; j < kCount; ++j) v[j] = float(i8(words[j / 4] >> (j % 4 * 8)));
        }
    }
    DEVICE static void load_step(const Element* p, float (&v)[16]) { load_run(p, v); }
    template <int kHeads, int kHeadSize>
    DEVICE static void store_head(Element* head, int number, const float* values) {
        static_assert(kHeadSize % 16 == 0, "whole loads");
        if (is_idle_lane()) return;
        const int lane = lane_start();
        float peak = 0.0f;
        for (int base = 0; base < kHeadSize; base += kLaneStride)  // all lanes stay active
            peak = fmax2(peak, fabs1(values[imin(base + lane, kHeadSize - 1)]));
        if constexpr (!kLanesInTurn) peak = wave_max(peak);
        const float inverse = peak > 0.0f ? 127.0f / peak : 0.0f;
        for (int base = 0; base < kHeadSize; base += 4 * kLaneStride) {
            const int d = imin(base + 4 * lane, kHeadSize - 4);  // some words twice, alike
            u32 word = 0;
            UNROLL
            for (int j = 0; j < 4; ++j)
                word |= (u32(round_to_int(values[d + j] * inverse)) & 0xffu) << (8 * j);
            *reinterpret_cast<u32*>(head + d) = word;
        }
        if (lane_id() == 0)
            *reinterpret_cast<float*>(head + scale_at<kHeads, kHeadSize>(number)) =
                peak * (1.0f / 127.0f);
    }

  private:
    template <int kHeads, int kHeadSize>
    DEVICE static int scale_at(int number) {
        return kHeads * kHeadSize + number * (4 - kHeadSize);  // from that head's first value
    }
};
