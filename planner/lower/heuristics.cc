#include "planner/lower/heuristics.h"

#include <algorithm>

namespace hetune {

int default_waves(const Arch& arch, int64_t groups, int64_t steps_of_k) {
    // On the host a group runs on one core, where its waves would take turns.
    if (arch.on_host) return 1;
    // Enough waves in flight to cover the latency of memory: about eight for each SIMD.
    const int64_t wanted = int64_t{arch.compute_units} * 16;
    int waves = 1;
    while (waves < 16 && groups * waves < wanted && waves * 2 <= steps_of_k) waves *= 2;
    return arch.waves(waves);
}

int half_rows_waves(const Arch& arch, int64_t cols) {
    return arch.waves(static_cast<int>(std::clamp<int64_t>(cols / 512, 1, 8)));
}

int default_splits(const Arch& arch, int64_t groups, int most) {
    int splits = 1;
    while (splits < most && splits * groups < arch.compute_units) splits *= 2;
    return arch.waves(splits);
}

}  // namespace hetune
