#include "planner/plan/occupancy.h"

#include <algorithm>

namespace hetune {
namespace {

// LLVM, AMDGPUBaseInfo.cpp, getLdsDwGranularity: 128 dwords. NVIDIA allocates less coarsely.
constexpr int kLdsGranule = 512;

int rounded_up(int value, int granule) { return (value + granule - 1) / granule * granule; }

}  // namespace

Occupancy occupancy(const Arch& arch, int vgprs, int lds_bytes, int threads) {
    const int registers = rounded_up(std::max(1, vgprs), arch.vgpr_granule);
    const int by_registers = vgprs > arch.max_vgprs ? 0 : arch.vgprs_per_simd / registers;
    const int per_simd = std::min(arch.max_waves_per_simd, by_registers);

    const int waves = std::max(1, (threads + arch.wave_size - 1) / arch.wave_size);
    const int groups = per_simd * arch.simds_per_unit / waves;
    const int lds = lds_bytes == 0 ? 0 : rounded_up(lds_bytes, kLdsGranule);
    const int share = lds + arch.lds_reserved_per_group;
    const int groups_by_lds = lds_bytes > arch.lds_bytes_per_group ? 0
                              : share == 0                         ? groups
                                           : arch.lds_bytes_per_unit / share;

    const int placed = std::min(groups, groups_by_lds) * waves;
    Occupancy result{(placed + arch.simds_per_unit - 1) / arch.simds_per_unit, "waves"};
    if (groups_by_lds < groups)
        result.limited_by = "LDS";
    else if (result.waves_per_simd < per_simd)
        result.limited_by = "group size";
    else if (by_registers < arch.max_waves_per_simd)
        result.limited_by = "registers";
    return result;
}

}  // namespace hetune
