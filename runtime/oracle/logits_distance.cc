#include "runtime/oracle/logits_distance.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace hetune {
namespace {

double log_sum_exp(std::span<const float> logits) {
    const double peak = *std::ranges::max_element(logits);
    double sum = 0;
    for (const float v : logits) sum += std::exp(static_cast<double>(v) - peak);
    return peak + std::log(sum);
}

}  // namespace

LogitsDistance compare_logits(std::span<const float> reference, std::span<const float> other,
                              int64_t vocabulary) {
    LogitsDistance d;
    const auto width = static_cast<size_t>(vocabulary);
    d.rows = static_cast<int64_t>(std::min(reference.size(), other.size()) / width);
    int64_t same = 0;
    std::vector<double> kls;
    for (size_t r = 0; r < static_cast<size_t>(d.rows); ++r) {
        const auto p = reference.subspan(r * width, width);
        const auto q = other.subspan(r * width, width);
        const double zp = log_sum_exp(p), zq = log_sum_exp(q);
        double kl = 0;
        for (size_t i = 0; i < width; ++i) {
            const double lp = static_cast<double>(p[i]) - zp;
            const double lq = static_cast<double>(q[i]) - zq;
            kl += std::exp(lp) * (lp - lq);
            const double difference =
                std::fabs(static_cast<double>(p[i]) - static_cast<double>(q[i]));
            // A NaN must not pass for a small difference.
            if (!(difference <= d.max_abs)) d.max_abs = difference;
        }
        kls.push_back(std::isnan(kl) ? INFINITY : kl);
        d.mean_kl += kl;
        if (!(kl <= d.max_kl)) d.max_kl = kl;
        same += std::ranges::max_element(p) - p.begin() == std::ranges::max_element(q) - q.begin();
    }
    if (d.rows > 0) {
        d.mean_kl /= static_cast<double>(d.rows);
        const auto middle = kls.begin() + d.rows / 2;
        std::ranges::nth_element(kls, middle);
        d.median_kl = *middle;
        d.top1 = 100.0 * static_cast<double>(same) / static_cast<double>(d.rows);
    }
    return d;
}

}  // namespace hetune
