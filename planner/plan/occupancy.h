// How many waves of a kernel a SIMD can hold at once: latency hiding is the product of that and of
// the loads that each wave has in flight.
#pragma once

#include <string>

#include "planner/plan/arch.h"

namespace hetune {

struct Occupancy {
    int waves_per_simd = 0;  // 0: a group does not fit at all
    std::string limited_by;  // "waves", "registers", "LDS" or "group size"

    bool operator==(const Occupancy&) const = default;
};

// Of groups of `threads` threads, each with `vgprs` registers a lane and `lds_bytes` for the group.
// The groups of a unit (WGP or SM) share its LDS, and whole groups are placed only, so
// waves_per_simd is rounded up over the SIMDs of the unit.
Occupancy occupancy(const Arch& arch, int vgprs, int lds_bytes, int threads);

}  // namespace hetune
