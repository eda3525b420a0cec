// Chooses each row's experts from their logits (moe/choose_experts.h). Launch: [rows].
#include "elementwise/step_state.h"
#include "moe/choose_experts.h"

#ifndef HETUNE_SPEC
constexpr int kExperts = 256;
constexpr int kUsed = 8;
constexpr bool kRenormalise = true;
#endif

extern "C" KERNEL(kWaveSize) void router(const StepState* __restrict__ step,
                                         const float* __restrict__ logits,  // [rows, kExperts]
                                         int* __restrict__ ids,             // [rows, kUsed]
                                         float* __restrict__ shares) {      // [rows, kUsed]
    const int row = group_id();
    if (row >= step->rows) return;
    choose_experts<kExperts, kUsed, kRenormalise>(
        [&](int expert) { return logits[i64(row) * kExperts + expert]; }, ids + row * kUsed,
        shares + row * kUsed);
}
EXPORT_KERNEL(router)
