// What was found to be faster than the defaults, as a plan takes it: plain values, found by
// `hetune autotune` and kept by cache/tuning_store.h.
#pragma once

#include <compare>
#include <map>
#include <set>
#include <string>

#include "kernel_templates/spec.h"

namespace hetune {

// A value for each tunable of a template: {"kWaves": "4"}.
using TuningPoint = std::map<std::string, std::string>;

// The values for the tunables of one op of a plan, by template.
using OpTunables = std::map<std::string, TuningPoint>;

// A kernel without its tunables, and how many rows its launch is made for.
struct KernelShape {
    KernelSpec kernel;
    int rows = 1;  // rounded up to a power of two

    // "gemv(Quant=Q4_K, kCols=4096, kRows=4096) x1"
    std::string to_string() const;
    bool operator==(const KernelShape&) const = default;
};

struct Tunings {
    std::map<std::string, TuningPoint> kernels;  // by KernelShape::to_string()
    // Names of fusion rules and lowerings ("experts/grouped") to leave out, by plan_signature().
    std::map<std::string, std::set<std::string>> without;

    bool empty() const { return kernels.empty() && without.empty(); }
    bool operator==(const Tunings&) const = default;
};

}  // namespace hetune
