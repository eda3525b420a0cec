// Draws the next token of each sequence from logits: repetition penalty, top-k, top-p, min-p,
// temperature, in that order, as llama.cpp's default chain does. Launch: [rows]; a group draws for
// one row.
//
// The draw also goes to its slot's ring in memory of the host, which may be some draws behind.
// Behind an end token, or the last draw that was asked for, a row has ended. A step of one row then
// has no rows, and launches do nothing.
//
// Nothing is sorted: a cut is a threshold on the logit, found by bisecting the 32 bits of an
// order-preserving integer, one pass over the logits each; equal logits stay or go together. The
// draw walks the tokens in order of their ids, so it depends on seed and count alone.
//
// A logit that is NaN or infinite ends the generation with kNoToken. runtime/oracle/sampler.h
// says the same plainly.
#include "elementwise/step_state.h"
#include "prelude/prelude.h"
#include "sampling/sampler_state.h"

#ifndef HETUNE_SPEC
constexpr int kVocabulary = 151936;
constexpr int kWaves = 16;
#endif

constexpr int kThreads = kWaves * kWaveSize;
constexpr int kChunk = (kVocabulary + kThreads - 1) / kThreads;

DEVICE inline u32 ordered(float v) {
    const u32 bits = bits_of(v);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DEVICE inline float from_ordered(u32 v) { return float_of(v & 0x80000000u ? v & 0x7fffffffu : ~v); }

constexpr u32 kInfinity = 0x7f800000u;     // bits of the number; those of a NaN are larger
constexpr float kLeast = -3.40282347e38f;  // the least number

// Sum over `count` logits of term(logit), the same in every lane.
template <class Term>
DEVICE inline float total(const float* logits, int count, float* shared, Term&& term) {
    float sum = 0.0f;
    for (int i = thread_id(); i < count; i += kThreads) sum += term(logits[i]);
    return group_sum<kWaves>(sum, shared);
}

// The highest threshold t for which the terms of logits >= t still add up to `wanted`.
template <class Term>
DEVICE inline float threshold(const float* logits, int count, float* shared, float peak,
                              float wanted, Term&& term) {
    u32 low = ordered(kLeast), high = ordered(peak);  // `low` reaches it; above `high` is nothing
    const auto above = [&](float t) {
        return total(logits, count, shared, [&](float v) { return v >= t ? term(v) : 0.0f; });
    };
    if (above(peak) >= wanted) return peak;
    while (high - low > 1) {
        const u32 middle = low + (high - low) / 2;
        const float sum = above(from_ordered(middle));
        if (sum >= wanted)
            low = middle;
        else
            high = middle;
        if (sum == wanted) break;
    }
    return from_ordered(low);
}

// Uniform in 0 .. 1 from two counters (integer hash of C. Wellons, "lowbias32", twice).
DEVICE inline float uniform(u32 seed, u32 count) {
    u32 h = seed;
    UNROLL
    for (int round = 0; round < 2; ++round) {
        h ^= h >> 16;
        h *= 0x7feb352du;
        h ^= h >> 15;
        h *= 0x846ca68bu;
        h ^= h >> 16;
        h += count * 0x9e3779b9u + 1u;
    }
    h ^= h >> 16;
    h *= 0x7feb352du;
    h ^= h >> 15;
    return float(h >> 8) * (1.0f / 16777216.0f);
}

extern "C" KERNEL(kWaves* kWaveSize) void sample(
    float* all_logits,     // [rows, kVocabulary]; the penalty is applied in place
    SamplerState* states,  // [slots]
    StepState* step,       // of the decode step that comes next
    i32* tokens,           // [rows] its tokens
    i32* rings) {          // [slots, kTokenRing] draw number n is at n % kTokenRing
    begin();
    SHARED float shared[kWaves];
    SHARED float sums[kThreads];
    SHARED int best[kWaves];
    const int thread = thread_id();
    const int row = group_id();
    if (row >= step->rows) return;
    RowState* const own_row = rows_of(step) + row;
    if (own_row->position < 0) return;
    float* const logits = all_logits + i64(row) * kVocabulary;
    SamplerState* const state = states + own_row->slot;
    i32* const ring = rings + own_row->slot * kTokenRing;
    const int count = imin(kVocabulary, state->vocabulary);

    const int window = imin(imin(state->window, state->count), kHistory);
    if (state->repeat_penalty != 1.0f) {
        for (int i = thread; i < window; i += kThreads) {
            const int token = state->history[(state->count - 1 - i) % kHistory];
            bool first = token >= 0 && token < kVocabulary;
            for (int j = 0; j < i; ++j)
                first = first && state->history[(state->count - 1 - j) % kHistory] != token;
            if (first) {
                const float v = logits[token];
                const float w = v > 0.0f ? v / state->repeat_penalty : v * state->repeat_penalty;
                // A number stays one.
                const bool overflows =
                    (bits_of(v) & kInfinity) != kInfinity && (bits_of(w) & kInfinity) == kInfinity;
                logits[token] = !overflows ? w : v > 0.0f ? -kLeast : kLeast;
            }
        }
        fence_device();
        barrier();
    }

    float peak = float_of(kInfinity | 0x80000000u);
    int at = kVocabulary;
    u32 widest = 0;
    for (int i = thread; i < count; i += kThreads) {
        const float v = logits[i];
        const u32 magnitude = bits_of(v) & 0x7fffffffu;
        widest = magnitude > widest ? magnitude : widest;
        if (v > peak) {
            peak = v;
            at = i;
        }
    }
    const float own = peak;
    peak = group_max<kWaves>(widest < kInfinity ? peak : float_of(kInfinity), shared);

    int token = kVocabulary;
    if ((bits_of(peak) & kInfinity) == kInfinity) {
        // Not a token, so that none is drawn below.
    } else if (state->temperature <= 0.0f) {
        const int first = wave_min(own == peak ? at : kVocabulary);
        if (lane_id() == 0) best[kWaves == 1 ? 0 : wave_id()] = first;
        barrier();
        UNROLL
        for (int w = 0; w < kWaves; ++w) token = imin(token, best[w]);
    } else {
        float cut = kLeast;
        if (state->top_k > 0 && state->top_k < count)
            cut = threshold(logits, count, shared, peak, float(state->top_k),
                            [](float) { return 1.0f; });
        if (state->top_p < 1.0f) {
            auto mass = [&](float v) { return v >= cut ? fast_exp(v - peak) : 0.0f; };
            const float all = total(logits, count, shared, mass);
            cut = fmax2(cut, threshold(logits, count, shared, peak, state->top_p * all, mass));
        }
        if (state->min_p > 0.0f)
            cut = fmax2(cut, peak + fast_log2(state->min_p) * 0.693147180559945f);
        cut = fmin2(cut, peak);  // rounding never cuts the peak off

        // Both factors are finite, whatever the temperature: 0 times infinity would be NaN.
        const float inverse = fast_rcp(fmax2(state->temperature, 1e-30f));
        auto weight = [&](int i) {
            const float v = logits[i];
            return v >= cut ? fast_exp(fmax2(v - peak, kLeast) * inverse) : 0.0f;
        };
        const int from = thread * kChunk, to = imin(from + kChunk, count);
        float sum = 0.0f;
        for (int i = from; i < to; ++i) sum += weight(i);
        sums[thread] = sum;
        barrier();
        float all = 0.0f;
        for (int t = 0; t < kThreads; ++t) all += sums[t];
        const float draw = uniform(state->seed, u32(state->count)) * all;
        // The last chunk with weight takes what rounding leaves over.
        float before = 0.0f;
        int owner = 0;
        float start = 0.0f;
        for (int t = 0; t < kThreads; ++t) {
            if (sums[t] > 0.0f && before <= draw) {
                owner = t;
                start = before;
            }
            before += sums[t];
        }
        if (thread == owner) {
            float reached = start;
            for (int i = from; i < to && (token == kVocabulary || reached <= draw); ++i) {
                const float w = weight(i);
                if (w > 0.0f) token = i;
                reached += w;
            }
            best[0] = token;
        }
        barrier();
        token = best[0];
    }
    if (thread == 0) {
        const bool none = token < 0 || token >= count;
        if (none) token = kNoToken;
        bool more = --state->left > 0 && !none;
        for (int i = 0; i < state->end_count; ++i) more = more && token != state->ends[i];
        ring[state->count % kTokenRing] = token;
        state->history[state->count % kHistory] = token;
        state->count += 1;
        own_row->position = more ? own_row->position + 1 : kEnded;
        if (!more && step->rows == 1) step->rows = 0;
        tokens[row] = none ? 0 : token;
    }
}
EXPORT_KERNEL(sample)
