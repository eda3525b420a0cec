// Causal attention of many rows on the matrix units, with the online softmax (FlashAttention-2,
// arXiv 2307.08691).
// The rows of a step are of one sequence. Launch: [kKvHeads, ceil(rows / kTokens)]. A group serves
// the query heads of one KV head for kTokens tokens: row m of its tile is head m % kGroup of token
// m / kGroup. A wave owns 16 rows. LDS: the queries; kKeys keys, then, in the same place, their
// values, transposed; the weights.
#include "attention/kv_pages.h"
#include "attention/kv_type.h"
#include "prelude/matrix.h"

#ifndef HETUNE_SPEC
using Kv = KvF16;
constexpr int kHeads = 32;
constexpr int kKvHeads = 8;
constexpr int kHeadSize = 128;
constexpr float kScale = 0.08838835f;
constexpr int kKeys = 64;
constexpr int kWaves = 4;
#endif

constexpr int kThreads = kWaves * kWaveSize;
constexpr int kGroup = kHeads / kKvHeads;
constexpr int kTileM = kWaves * 16;
constexpr int kTokens = kTileM / kGroup;
constexpr int kDims = kHeadSize / 16;  // tiles of 16
constexpr int kKeyTiles = kKeys / 16;
constexpr i64 kKvRow = Kv::template kRowElements<kKvHeads, kHeadSize>;
constexpr int kHeadPitch = kHeadSize + 8;  // of LDS rows; no two of eight in the same banks
constexpr int kKeyPitch = kKeys + 8;
constexpr int kKvHalves =
    kKeys * kHeadPitch > kHeadSize* kKeyPitch ? kKeys* kHeadPitch : kHeadSize* kKeyPitch;
constexpr float kNoScore = -1e30f;  // instead of -infinity: differences of two stay finite
static_assert(kHeads % kKvHeads == 0 && kHeadSize % 16 == 0 && kTokens > 0 && kKeys % 16 == 0);
static_assert(kPageTokens % kKeys == 0, "keys in LDS are of one page");

constexpr int kPairsOfStep = Kv::kStep / 2;

// Values of one position's head from dimension d on, as pairs of halves.
DEVICE inline void load_kv(const Kv::Element* cache, int kv_head, int position, int d,
                           u32 (&halves)[kPairsOfStep]) {
    const auto* head = cache + position * kKvRow + kv_head * kHeadSize;
    float v[Kv::kStep];
    Kv::load_step(head + d, v);
    const float scale = Kv::template scale<kKvHeads, kHeadSize>(head, kv_head);
    UNROLL
    for (int i = 0; i < kPairsOfStep; ++i)
        halves[i] = half2_of(v[2 * i] * scale, v[2 * i + 1] * scale);
}

DEVICE inline void stage_keys(const Kv::Element* k_cache, int kv_head, int first, int last,
                              u16* lds) {
    constexpr int kChunks = kHeadSize / Kv::kStep;  // of a key
    const int chunks = pinned(kKeys * kChunks);     // a loop that is not unrolled: it would spill
    for (int chunk = thread_id(); chunk < chunks; chunk += kThreads) {
        const int key = chunk / kChunks, d = chunk % kChunks * Kv::kStep;
        u32 v[kPairsOfStep];
        load_kv(k_cache, kv_head, imin(first + key, last), d, v);
        UNROLL
        for (int i = 0; i < kPairsOfStep; i += 4)
            store128(lds + key * kHeadPitch + d + 2 * i, {v[i], v[i + 1], v[i + 2], v[i + 3]});
    }
}
// Transposed, so that the keys of a dimension lie side by side. Lanes take pairs of keys: their
// stores fill consecutive words.
DEVICE inline void stage_values(const Kv::Element* v_cache, int kv_head, int first, int last,
                                u16* lds) {
    constexpr int kPairs = kKeys / 2;
    const int chunks = pinned(kPairs * kHeadSize / Kv::kStep);
    for (int chunk = thread_id(); chunk < chunks; chunk += kThreads) {
        const int key = chunk % kPairs * 2, d = chunk / kPairs * Kv::kStep;
        u32 even[kPairsOfStep], odd[kPairsOfStep];
        load_kv(v_cache, kv_head, imin(first + key, last), d, even);
        load_kv(v_cache, kv_head, imin(first + key + 1, last), d, odd);
        UNROLL
        for (int i = 0; i < kPairsOfStep; ++i) {
            u16* to = lds + (d + 2 * i) * kKeyPitch + key;
            *reinterpret_cast<u32*>(to) = byte_perm(even[i], odd[i], 0x05040100u);
            *reinterpret_cast<u32*>(to + kKeyPitch) = byte_perm(even[i], odd[i], 0x07060302u);
        }
    }
}

extern "C" KERNEL_RESIDENT(kWaves* kWaveSize, 2) void attention_flash(
    const StepState* __restrict__ step,
    const i32* __restrict__ pages,            // [slots, page_stride]
    const float* __restrict__ q,              // [rows, kHeads, kHeadSize]
    const Kv::Element* __restrict__ k_cache,  // [pages, kPageTokens, kRowElements]
    const Kv::Element* __restrict__ v_cache,  // [pages, kPageTokens, kRowElements]
    float* __restrict__ y) {                  // [rows, kHeads, kHeadSize]
    SHARED U4 q_memory[kTileM * kHeadPitch / 8];
    SHARED U4 kv_memory[kKvHalves / 8];
    SHARED U4 weight_memory[kTileM * kKeyPitch / 8];
    const int rows = step->rows;
    const int first_token = group_id_y() * kTokens;
    if (first_token >= rows) return;
    const int kv_head = group_id();
    // The group's rows are of one sequence, and filling rows repeat its last one.
    const RowState* const row_states = rows_of(step);
    const i32* const own_pages = pages_of(step, pages, row_states[first_token].slot);
    // The key of the last token.
    const int last = row_states[imin(first_token + kTokens, rows) - 1].position;

    auto* q_lds = reinterpret_cast<u16*>(q_memory);
    auto* kv_lds = reinterpret_cast<u16*>(kv_memory);
    const int first_row = (kWaves == 1 ? 0 : wave_id()) * 16;
    u16* weights = reinterpret_cast<u16*>(weight_memory) + first_row * kKeyPitch;
    // Rows that stand for no token are computed as the last one, and not stored.
    const auto token_of = [&](int m) {
        return imin(first_token + imin(m / kGroup, kTokens - 1), rows - 1);
    };
    for (int chunk = thread_id(); chunk < kTileM * kHeadSize / 8; chunk += kThreads) {
        const int m = chunk / (kHeadSize / 8), d = chunk % (kHeadSize / 8) * 8;
        const float* from =
            q + (i64(token_of(m)) * kHeads + kv_head * kGroup + m % kGroup) * kHeadSize + d;
        store128(q_lds + m * kHeadPitch + d,
                 {half2_of(from[0], from[1]), half2_of(from[2], from[3]),
                  half2_of(from[4], from[5]), half2_of(from[6], from[7])});
    }

    constexpr float kLog2Scale = kScale * 1.44269504088896f;
    MatC out[kDims];
    float peak[kMatRowSlots], sum[kMatRowSlots];
    int limit[kMatRowSlots];  // the last key that a row may see
    UNROLL
    for (int i = 0; i < kDims; ++i) mat_clear(out[i]);
    UNROLL
    for (int s = 0; s < kMatRowSlots; ++s) {
        peak[s] = kNoScore;
        sum[s] = 0.0f;
        limit[s] = row_states[token_of(first_row + mat_row(s))].position;
    }
    for (int first = 0; first <= last; first += kKeys) {
        const i64 shift = page_shift(own_pages[first / kPageTokens], first) * kKvRow;
        stage_keys(k_cache + shift, kv_head, first, last, kv_lds);
        barrier();
        MatC scores[kKeyTiles];
        UNROLL
        for (int j = 0; j < kKeyTiles; ++j) mat_clear(scores[j]);
        const int dims = pinned(kDims);  // not unrolled either: only addresses depend on i
        for (int i = 0; i < dims; ++i) {
            const MatAB a = mat_load(q_lds + first_row * kHeadPitch + 16 * i, kHeadPitch);
            UNROLL
            for (int j = 0; j < kKeyTiles; ++j)
                mat_mul(scores[j], a, mat_load(kv_lds + 16 * j * kHeadPitch + 16 * i, kHeadPitch));
        }
        float highest[kMatRowSlots], old[kMatRowSlots];
        UNROLL
        for (int s = 0; s < kMatRowSlots; ++s) highest[s] = kNoScore;
        UNROLL
        for (int j = 0; j < kKeyTiles; ++j)
            mat_visit(scores[j], [&](MatPlace at, float& v) {
                v = first + 16 * j + at.col <= limit[at.slot] ? v * kLog2Scale : kNoScore;
                highest[at.slot] = fmax2(highest[at.slot], v);
            });
        UNROLL
        for (int s = 0; s < kMatRowSlots; ++s) {
            const float above = fmax2(
                peak[s], mat_fold_row(highest[s], [](float a, float b) { return fmax2(a, b); }));
            old[s] = fast_exp2(peak[s] - above);
            peak[s] = above;
            sum[s] *= old[s];
        }
        UNROLL
        for (int j = 0; j < kKeyTiles; ++j)
            mat_visit(scores[j], [&](MatPlace at, float& v) {
                const float weight = fast_exp2(v - peak[at.slot]);
                sum[at.slot] += weight;
                weights[at.row * kKeyPitch + 16 * j + at.col] = float_to_half(weight);
            });
        UNROLL
        for (int i = 0; i < kDims; ++i)
            mat_visit(out[i], [&](MatPlace at, float& v) { v *= old[at.slot]; });
        barrier();
        stage_values(v_cache + shift, kv_head, first, last, kv_lds);
        barrier();
        const int key_tiles = pinned(kKeyTiles);
        for (int j = 0; j < key_tiles; ++j) {
            const MatAB a = mat_load(weights + 16 * j, kKeyPitch);
            UNROLL
            for (int i = 0; i < kDims; ++i)
                mat_mul(out[i], a, mat_load(kv_lds + 16 * i * kKeyPitch + 16 * j, kKeyPitch));
        }
        barrier();
    }
    UNROLL
    for (int s = 0; s < kMatRowSlots; ++s)
        sum[s] = fast_rcp(mat_fold_row(sum[s], [](float a, float b) { return a + b; }));
    UNROLL
    for (int i = 0; i < kDims; ++i)
        mat_visit(out[i], [&](MatPlace at, float& v) {
            const int m = first_row + at.row;
            const int token = first_token + m / kGroup;
            if (m >= kTokens * kGroup || token >= rows) return;
            y[(i64(token) * kHeads + kv_head * kGroup + m % kGroup) * kHeadSize + 16 * i + at.col] =
                v * sum[at.slot];
        });
}
EXPORT_KERNEL(attention_flash)
