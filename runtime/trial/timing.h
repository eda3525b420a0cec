// What repeated timings of one thing say, and when one thing is faster than another.
#pragma once

#include <vector>

namespace hetune {

struct Timing {
    double us = 0;        // median
    double noise_us = 0;  // standard error of the median, from the median absolute deviation
    int samples = 0;

    bool operator==(const Timing&) const = default;
};

Timing timing_of(std::vector<double> samples_us);

// A gain counts beyond three standard errors of the difference, and beyond this share of the time
// to beat: less is not worth another kernel, nor seen again on another day.
constexpr double kLeastGain = 0.02;
bool is_faster(const Timing& candidate, const Timing& than);

}  // namespace hetune
