// How long a step should take, from its bytes, operations, launch shape and the facts of the arch.
// Made to put the points of a tuning space in order, not to predict a stopwatch: what it leaves out
// (banks, replays, clocks) is about the same for all points of one space.
#pragma once

#include <cstdint>
#include <string>

#include "planner/plan/plan.h"

namespace hetune {

// Of a compiled kernel; -1 where it is not known yet.
struct StaticResources {
    int vgprs = -1;
    int lds_bytes = -1;
};

struct Prediction {
    double us = 0;
    double memory_us = 0, math_us = 0, serial_us = 0, launch_us = 0;
    int waves_per_simd = 0;  // 0: it does not fit
    std::string bound_by;    // "memory", "operations", "latency" or "launch"
};
Prediction predict(const Plan& plan, const PlanStep& step, const Arch& arch, int64_t context,
                   const StaticResources& resources = {});

}  // namespace hetune
