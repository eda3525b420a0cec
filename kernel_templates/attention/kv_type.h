// Element types of the KV cache.
#pragma once

#include "prelude/prelude.h"

struct KvF32 {
    using Element = float;
    DEVICE static float load(const Element* p) { return *p; }
    DEVICE static void store(Element* p, float v) { *p = v; }
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
struct Kv16 {
    using Element = u16;
    DEVICE static float load(const Element* p) { return kToFloat(*p); }
    DEVICE static void store(Element* p, float v) { *p = kFromFloat(v); }
    DEVICE static void load8(const Element* p, float (&v)[8]) {
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
