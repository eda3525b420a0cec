// Appends the step's rows to one layer's KV cache. Launch: [ceil(kKvHeads / kWaves), rows]; a wave
// writes one head of one row.
#include "attention/kv_pages.h"
#include "attention/kv_type.h"

#ifndef HETUNE_SPEC
constexpr int kKvHeads = 8;
constexpr int kHeadSize = 128;
constexpr int kWaves = 4;
using Kv = KvF16;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void kv_write(
    const StepState* __restrict__ step,
    const i32* __restrict__ pages,        // [slots, page_stride]
    const float* __restrict__ k,          // [rows, kKvHeads, kHeadSize]
    const float* __restrict__ v,          // [rows, kKvHeads, kHeadSize]
    Kv::Element* __restrict__ k_cache,    // [pages, kPageTokens, kRowElements]
    Kv::Element* __restrict__ v_cache) {  // [pages, kPageTokens, kRowElements]
    const int head = group_id() * kWaves + (kWaves == 1 ? 0 : wave_id());
    const int row = group_id_y();
    if (row >= step->rows || head >= kKvHeads) return;
    const RowState own = rows_of(step)[row];
    if (own.position < 0 || row >= own.end) return;
    const int page = pages_of(step, pages, own.slot)[own.position / kPageTokens];
    const i64 from = (i64(row) * kKvHeads + head) * kHeadSize;
    const i64 to =
        cache_row(page, own.position) * Kv::kRowElements<kKvHeads, kHeadSize> + head * kHeadSize;
    Kv::store_head<kKvHeads, kHeadSize>(k_cache + to, head, k + from);
    Kv::store_head<kKvHeads, kHeadSize>(v_cache + to, head, v + from);
}
EXPORT_KERNEL(kv_write)
