#include "runtime/trial/timing.h"

#include <algorithm>
#include <cmath>

namespace hetune {
namespace {

constexpr double kSigmas = 3;
constexpr double kSigmaOfMad = 1.4826;     // normal distribution
constexpr double kErrorOfMedian = 1.2533;  // sqrt(pi / 2), times sigma / sqrt(n)

double median(std::vector<double>& values) {
    const size_t half = values.size() / 2;
    std::ranges::sort(values);
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

Timing timing_of(std::vector<double> samples_us) {
    if (samples_us.empty()) return {};
    Timing timing{.us = median(samples_us), .samples = static_cast<int>(samples_us.size())};
    for (double& sample : samples_us) sample = std::abs(sample - timing.us);
    timing.noise_us = kErrorOfMedian * kSigmaOfMad * median(samples_us) /
                      std::sqrt(static_cast<double>(timing.samples));
    return timing;
}

bool is_faster(const Timing& candidate, const Timing& than) {
    const double gain = than.us - candidate.us;
    const double noise = std::hypot(candidate.noise_us, than.noise_us);
    return gain > kSigmas * noise && gain > kLeastGain * than.us;
}

}  // namespace hetune
