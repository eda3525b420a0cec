// Causal attention of each row over one share of the context; attention_merge adds the shares up.
// Launch: [kKvHeads, kSplits, rows]. A group serves the query heads of one KV head. Tiles of 32
// keys go to waves and splits in turn, so the context's length is in no constant.
// LDS: weights of a tile for each wave, and the waves' results.
#include "attention/kv_pages.h"
#include "attention/online_softmax.h"

#ifndef HETUNE_SPEC
using Kv = KvF16;
constexpr int kHeads = 32;
constexpr int kKvHeads = 8;
constexpr int kHeadSize = 128;
constexpr float kScale = 0.08838835f;
constexpr int kSplits = 8;
constexpr int kWaves = 4;
#endif

constexpr int kGroup = kHeads / kKvHeads;
static_assert(kHeads % kKvHeads == 0 && kHeadSize % 8 == 0);

extern "C" KERNEL(kWaves* kWaveSize) void attention_split(
    const StepState* __restrict__ step,
    const i32* __restrict__ pages,            // [slots, page_stride]
    const float* __restrict__ q,              // [rows, kHeads, kHeadSize]
    const Kv::Element* __restrict__ k_cache,  // [pages, kPageTokens, kRowElements]
    const Kv::Element* __restrict__ v_cache,  // [pages, kPageTokens, kRowElements]
    float* __restrict__ shares) {             // [rows, kHeads, kSplits, kHeadSize + 2]
    constexpr int kShare = kHeadSize + 2;     // the sums, the peak, the sum of weights
    SHARED float weights[kWaves][kGroup][kWaveSize];
    SHARED float waves[kWaves][kGroup][kShare];
    const int kv_head = group_id();
    const int split = group_id_y();
    const int row = group_id_z();
    if (row >= step->rows) return;
    const int wave = kWaves == 1 ? 0 : wave_id();
    const RowState own = rows_of(step)[row];
    const int last = own.position;  // of an ended row: there is no key
    const i32* const own_pages = pages_of(step, pages, own.slot);

    SoftmaxState<kGroup, kHeadSize> state;
    state.clear();
    for (int tile = split * kWaves + wave; tile * 32 <= last; tile += kSplits * kWaves) {
        const i64 shift = page_shift(own_pages[tile * 32 / kPageTokens], tile * 32) *
                          Kv::template kRowElements<kKvHeads, kHeadSize>;
        attend_tile<Kv, kGroup, kHeadSize, kKvHeads>(
            state, q + (i64(row) * kHeads + kv_head * kGroup) * kHeadSize, kScale, k_cache + shift,
            v_cache + shift, kv_head, tile * 32, last, weights[wave]);
    }

    state.store(waves[wave]);
    barrier();
    // All lanes stay active: the last round repeats the last value, and does not store it.
    // The first lane does all the work where a wave's lanes run one after another.
    constexpr int kValues = kGroup * kShare;
    constexpr bool kAlone = kLanesInTurn && kWaves == 1;
    constexpr int kAtOnce = kAlone ? 1 : kWaves * kWaveSize;
    if (kAlone && is_idle_lane()) return;
    const int own_value = kAlone ? 0 : thread_id();
    for (int base = 0; base < kValues; base += kAtOnce) {
        const int at = imin(base + own_value, kValues - 1);
        const int g = at / kShare;
        const int d = at % kShare;
        float peak = kNoScore;
        for (int w = 0; w < kWaves; ++w) peak = fmax2(peak, waves[w][g][kHeadSize]);
        float sum = 0.0f;
        for (int w = 0; w < kWaves; ++w)
            sum += waves[w][g][d] * (kAlone ? 1.0f : fast_exp(waves[w][g][kHeadSize] - peak));
        const i64 head = i64(row) * kHeads + kv_head * kGroup + g;
        const float total = settled(sum);  // here, not in the branch that the choice may become
        const float value = settled(d == kHeadSize ? peak : total);
        if (base + own_value < kValues) shares[(head * kSplits + split) * kShare + d] = value;
    }
}
EXPORT_KERNEL(attention_split)
FIRST_LANE_ONLY(kWaves == 1)
