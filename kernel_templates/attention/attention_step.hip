// Attention of decoded tokens, one of each sequence, in one launch: norm and rope of the query
// heads and of the new key, the new key and value into the cache, attention split over the context,
// and, in the group that is last to finish, the sum of the shares, times the sigmoid of a gate
// where there is one. Launch: [kKvHeads * kParts, kSplits, rows]. A group serves the query heads of
// one KV head, or one of kParts equal parts of them, each of which writes the same key and value;
// tiles of 32 keys go to waves and splits in turn, and groups for which there is none do nothing.
// No group waits for another. LDS: the heads, weights of a tile for each wave, and the waves'
// results.
#include "attention/head_rope.h"
#include "attention/kv_pages.h"
#include "attention/online_softmax.h"
#include "elementwise/xblock.h"

#ifndef HETUNE_SPEC
using Kv = KvF16;
constexpr int kHeads = 32;
constexpr int kKvHeads = 8;
constexpr int kHeadSize = 128;
constexpr float kScale = 0.08838835f;
constexpr bool kNorm = true;
constexpr float kEps = 1e-6f;
constexpr int kRotary = 128;
constexpr bool kInterleaved = false;
constexpr float kMagnitude = 1.0f;
constexpr bool kGated = false;
constexpr bool kQuantisedOutput = true;
constexpr int kParts = 1;
constexpr int kSplits = 8;
constexpr int kWaves = 4;
#endif

constexpr int kGroup = kHeads / kKvHeads / kParts;
constexpr int kThreads = kWaves * kWaveSize;
constexpr int kQueryStride = kGated ? 2 * kHeadSize : kHeadSize;
constexpr int kShare = kHeadSize + 2;  // the sums, the peak, the sum of weights
static_assert(kHeads % (kKvHeads * kParts) == 0 && kHeadSize % 8 == 0);
static_assert(!kQuantisedOutput || kHeadSize % 32 == 0, "blocks of 32 lie within a head");

// Dimension d of a head, and behind them the peak and the sum of weights, of `count` shares that
// lie `stride` floats apart.
DEVICE inline float combine(const float* shares, int count, i64 stride, int d, float peak) {
    float sum = 0.0f;
    for (int s = 0; s < count; ++s)
        sum += shares[s * stride + d] * fast_exp(shares[s * stride + kHeadSize] - peak);
    return sum;
}
DEVICE inline float peak_of(const float* shares, int count, i64 stride) {
    float peak = kNoScore;
    for (int s = 0; s < count; ++s) peak = fmax2(peak, shares[s * stride + kHeadSize]);
    return peak;
}

// finish_head() where the lanes of a wave run one after another: the first does it all.
template <int kMost>
DEVICE inline void finish_head_in_turn(const float* shares, int count, i64 stride, int head,
                                       const float* q, void* y) {
    if (is_idle_lane()) return;
    const float peak = peak_of(shares, count, stride);
    float total = 0.0f;
    float sums[kHeadSize] = {};
    for (int s = 0; s < count; ++s) {
        const float* share = shares + s * stride;
        const float weight = fast_exp(share[kHeadSize] - peak);
        total = fused_mul_add(weight, share[kHeadSize + 1], total);
        for (int d = 0; d < kHeadSize; ++d) sums[d] = fused_mul_add(weight, share[d], sums[d]);
    }
    const float factor = fast_rcp(total);
    for (int d = 0; d < kHeadSize; ++d) {
        sums[d] *= factor;
        if constexpr (kGated) sums[d] *= sigmoid(q[head * kQueryStride + kHeadSize + d]);
    }
    if constexpr (kQuantisedOutput) {
        for (int block = 0; block < kHeadSize / 32; ++block) {
            float values[32];
            for (int i = 0; i < 32; ++i) values[i] = sums[32 * block + i];
            quantise_lane(values, static_cast<XBlock*>(y) + head * (kHeadSize / 32) + block);
        }
    } else {
        for (int d = 0; d < kHeadSize; ++d) static_cast<float*>(y)[head * kHeadSize + d] = sums[d];
    }
}

// The result of a head from its first `count` shares; by one wave, of which a lane looks after the
// weight of every 32nd share.
template <int kMost>
DEVICE inline void finish_head(const float* shares, int count, i64 stride, int head, const float* q,
                               void* y) {
    if constexpr (kLanesInTurn) {
        finish_head_in_turn<kMost>(shares, count, stride, head, q, y);
        return;
    }
    constexpr int kDims = (kHeadSize + 31) / 32;
    constexpr int kOwn = (kMost + kWaveSize - 1) / kWaveSize;
    const int lane = lane_id();
    float weight[kOwn], own_sum[kOwn];
    float peak = kNoScore;
    UNROLL
    for (int o = 0; o < kOwn; ++o) {
        const float* own =
            shares + imin(o * kWaveSize + lane, count - 1) * stride;  // all lanes stay active
        weight[o] = settled(own[kHeadSize]);
        own_sum[o] = settled(own[kHeadSize + 1]);
        peak = fmax2(peak, weight[o]);
    }
    peak = wave_max(peak);
    float total = 0.0f;
    UNROLL
    for (int o = 0; o < kOwn; ++o) {
        weight[o] = o * kWaveSize + lane < count ? fast_exp(weight[o] - peak) : 0.0f;
        total = fused_mul_add(weight[o], own_sum[o], total);
    }
    const float factor = fast_rcp(wave_sum(total));
    float sums[kDims];
    UNROLL
    for (int i = 0; i < kDims; ++i) sums[i] = 0.0f;
    constexpr int kAtOnce =
        at_once(kMost, 4);  // all of them would spill; behind the last, with no weight
    UNROLL
    for (int o = 0; o < kOwn; ++o) {
        ROLLED
        for (int first = o * kWaveSize; first < imin(count, (o + 1) * kWaveSize);
             first += kAtOnce) {
            UNROLL
            for (int s = first; s < first + kAtOnce; ++s) {
                const float w = shuffle(weight[o], s % kWaveSize);
                const float* share = shares + imin(s, count - 1) * stride;
                UNROLL
                for (int i = 0; i < kDims; ++i)
                    sums[i] = fused_mul_add(w, share[imin(i * 32 + lane, kHeadSize - 1)], sums[i]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < kDims; ++i) {
        const int d = i * 32 + lane;
        float v = sums[i] * factor;
        if constexpr (kGated)
            v *= sigmoid(q[head * kQueryStride + kHeadSize + imin(d, kHeadSize - 1)]);
        if constexpr (kQuantisedOutput)
            quantise_wave(v, static_cast<XBlock*>(y) + head * (kHeadSize / 32) + i);
        else if (d < kHeadSize)
            static_cast<float*>(y)[head * kHeadSize + d] = v;
    }
}

extern "C" STREAM_KERNEL(kWaves* kWaveSize) void attention_step(
    const StepState* INPUT step,
    const i32* INPUT pages,     // [slots, page_stride]
    const float* INPUT q_rows,  // [rows, kHeads, kHeadSize]; where kGated each with its gate behind
    const float* INPUT k_rows,  // [rows, kKvHeads, kHeadSize]
    const float* INPUT v_rows,  // [rows, kKvHeads, kHeadSize]
    const float* INPUT q_norm,  // [kHeadSize] where kNorm
    const float* INPUT k_norm,  // [kHeadSize] where kNorm
    const float* INPUT turns,   // [kRotary / 2][2] where kRotary > 0
    Kv::Element* k_cache,       // [pages, kPageTokens, kRowElements]
    Kv::Element* v_cache,       // [pages, kPageTokens, kRowElements]
    float* shares,              // [rows, kHeads, kSplits, kHeadSize + 2]
    int* counters,              // [rows, kKvHeads * kParts], 0 between launches
    void* __restrict__ y_rows) {  // [rows]: [kHeads * kHeadSize / 32] XBlock or [kHeads, kHeadSize]
    begin();
    SHARED U4 heads_memory[(kGroup + 1) * kHeadSize / 4];
    auto* heads = reinterpret_cast<float(*)[kHeadSize]>(heads_memory);  // the last is the new key
    SHARED float weights[kWaves][kGroup][kWaveSize];
    SHARED float waves[kWaves][kGroup][kShare];
    SHARED int is_last;
    const int kv_head = group_id() / kParts;
    const int first_head = group_id() * kGroup;
    const int split = group_id_y();
    const int wave = kWaves == 1 ? 0 : wave_id();
    const int row = group_id_z();
    if (row >= step->rows) return;
    const RowState own_row = rows_of(step)[row];
    const int last = own_row.position;
    if (last < 0) return;
    constexpr i64 kKvRow = Kv::template kRowElements<kKvHeads, kHeadSize>;
    constexpr i64 kRowBytes = kQuantisedOutput ? i64(kHeads * kHeadSize / 32) * sizeof(XBlock)
                                               : i64(kHeads * kHeadSize) * sizeof(float);
    const float* q = q_rows + i64(row) * kHeads * kQueryStride;
    const float* k = k_rows + i64(row) * kKvHeads * kHeadSize;
    const float* v = v_rows + i64(row) * kKvHeads * kHeadSize;
    void* y = static_cast<u8*>(y_rows) + row * kRowBytes;
    const i32* const own_pages = pages_of(step, pages, own_row.slot);
    // Entries are on their way while the heads are made, and then while the tile before is read.
    const int last_page = own_pages[last / kPageTokens];
    int page = own_pages[imin((split * kWaves + wave) * 32, last) / kPageTokens];
    const int active = imin(kSplits, last / 32 / kWaves + 1);
    if (split >= active) return;

    for (int h = wave; h <= kGroup; h += kWaves) {
        const bool is_key = h == kGroup;
        norm_rope<kHeadSize, kNorm, kRotary, kInterleaved>(
            is_key ? k + kv_head * kHeadSize : q + (first_head + h) * kQueryStride,
            is_key ? k_norm : q_norm, kEps, turns, kMagnitude, float(last), heads[h]);
    }
    barrier();
    if (last / 32 / kWaves % kSplits == split) {  // the new key lies in a tile of this group
        const i64 at = cache_row(last_page, last) * kKvRow + kv_head * kHeadSize;
        if (wave == 0) Kv::store_head<kKvHeads, kHeadSize>(k_cache + at, kv_head, heads[kGroup]);
        if (wave == kWaves - 1)
            Kv::store_head<kKvHeads, kHeadSize>(v_cache + at, kv_head, v + kv_head * kHeadSize);
    }
    barrier();

    SoftmaxState<kGroup, kHeadSize> state;
    state.clear();
    for (int tile = split * kWaves + wave; tile * 32 <= last; tile += kSplits * kWaves) {
        const i64 shift = page_shift(page, tile * 32) * kKvRow;
        page = own_pages[imin((tile + kSplits * kWaves) * 32, last) / kPageTokens];
        attend_tile<Kv, kGroup, kHeadSize, kKvHeads>(state, heads[0], kScale, k_cache + shift,
                                                     v_cache + shift, kv_head, tile * 32, last,
                                                     weights[wave]);
    }
    state.store(waves[wave]);
    barrier();
    if constexpr (kSplits == 1) {
        for (int g = wave; g < kGroup; g += kWaves)
            finish_head<kWaves>(waves[0][g], kWaves, kGroup * kShare, first_head + g, q, y);
    } else {
        float* own = shares + (i64(row) * kHeads + first_head) * kSplits * kShare;
        int* counter = counters + row * kKvHeads * kParts + group_id();
        constexpr int kValues = kGroup * kShare;
        for (int base = 0; base < kValues; base += kThreads) {
            const int at = imin(base + thread_id(), kValues - 1);  // all lanes stay active
            const int g = at / kShare, d = at % kShare;
            const float peak = peak_of(waves[0][g], kWaves, kGroup * kShare);
            const float sum = combine(waves[0][g], kWaves, kGroup * kShare, d, peak);
            const float total = settled(sum);  // here, not in the branch that the choice may become
            const float value = settled(d == kHeadSize ? peak : total);
            if (base + thread_id() < kValues) own[(g * kSplits + split) * kShare + d] = value;
        }
        fence_device();
        barrier();
        if (thread_id() == 0) {
            is_last = atomic_add_device(counter, 1) == active - 1;
            if (is_last) *counter = 0;
        }
        barrier();
        if (!is_last) return;
        fence_device();
        for (int g = wave; g < kGroup; g += kWaves)
            finish_head<kSplits>(own + g * kSplits * kShare, active, kShare, first_head + g, q, y);
    }
}
EXPORT_KERNEL(attention_step)
FIRST_LANE_ONLY(kWaves == 1 && kSplits == 1)
