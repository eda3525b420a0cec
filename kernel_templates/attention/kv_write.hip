// Appends the step's rows to one layer's KV cache. Launch: [ceil(kWidth / (32 kWaves)), rows].
// The cache is [position][kKvHeads][head size], so that its capacity is in no kernel.
#include "attention/kv_type.h"
#include "elementwise/step_state.h"

#ifndef HETUNE_SPEC
constexpr int kWidth = 1024;
constexpr int kWaves = 4;
using Kv = KvF16;
#endif

extern "C" KERNEL(kWaves* kWaveSize) void kv_write(
    const StepState* __restrict__ step,
    const float* __restrict__ k,             // [rows, kWidth]
    const float* __restrict__ v,             // [rows, kWidth]
    Kv::Element* __restrict__ k_cache,       // [context, kWidth]
    Kv::Element* __restrict__ v_cache) {     // [context, kWidth]
    const int col = group_id() * kWaves * kWaveSize + thread_id();
    const int row = group_id_y();
    if (row >= step->rows || col >= kWidth) return;
    const i64 at = i64(step->position + row) * kWidth + col;
    Kv::store(k_cache + at, k[i64(row) * kWidth + col]);
    Kv::store(v_cache + at, v[i64(row) * kWidth + col]);
}
EXPORT_KERNEL(kv_write)
