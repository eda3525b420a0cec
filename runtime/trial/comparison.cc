#include "runtime/trial/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hetune {

void Comparison::add_block(int64_t row, const HostXBlock& block, std::span<const float> wanted) {
    double sums[2] = {}, peak = 0;
    for (const float value : wanted) {
        peak = std::max(peak, std::abs(static_cast<double>(value)));
        largest_ = std::max(largest_, std::abs(static_cast<double>(value)));
    }
    const double rounding = kHalfStep * peak;
    const auto beyond = [&](int64_t at, double apart, double allowed) {
        add(at, apart <= allowed ? 0 : apart - allowed, 0);  // a NaN is beyond
    };
    for (size_t i = 0; i < 32; ++i) {
        const double got = static_cast<double>(block.scale) * block.q[i];
        sums[i / 16] += got;
        beyond(row + static_cast<int64_t>(i), std::abs(got - static_cast<double>(wanted[i])),
               rounding);
    }
    // Integers times the scale, so exact but for the rounding of a float: 2^-24 of up to 32 values.
    const double exactly = 127 * 32 * std::abs(static_cast<double>(block.scale)) * 0x1p-23;
    beyond(row, std::abs(static_cast<double>(block.sum) - sums[0] - sums[1]), exactly);
    beyond(row, std::abs(static_cast<double>(block.sum_low) - sums[0]), exactly);
    beyond(row, std::abs(static_cast<double>(block.sum_high) - sums[1]), exactly);
}

void Comparison::add_all(int64_t row, std::span<const float> got, std::span<const float> wanted) {
    // In vectors of 16 classes. A NaN has no size but makes the sum one.
    float apart[16] = {}, large[16] = {}, sum[16] = {};
    size_t at = 0;
    for (; at + 16 <= wanted.size(); at += 16)
        for (size_t i = 0; i < 16; ++i) {
            const float size = std::abs(wanted[at + i]),
                        off = std::abs(got[at + i] - wanted[at + i]);
            large[i] = size > large[i] ? size : large[i];
            apart[i] = off > apart[i] ? off : apart[i];
            sum[i] += off;
        }
    for (size_t i = 0; i < 16; ++i) {
        const auto of_class = static_cast<size_t>((row + static_cast<int64_t>(i)) % 16);
        const double off = std::isfinite(sum[i]) ? static_cast<double>(apart[i])
                                                 : std::numeric_limits<double>::infinity();
        by_row_[of_class] = std::max(by_row_[of_class], off);
        largest_ = std::max(largest_, static_cast<double>(large[i]));
        sum_ += static_cast<double>(sum[i]);
    }
    samples_ += static_cast<int64_t>(at);
    for (; at < wanted.size(); ++at)
        add(row + static_cast<int64_t>(at), static_cast<double>(got[at]),
            static_cast<double>(wanted[at]));
}

void Comparison::add(int64_t row, double got, double wanted) {
    double apart = std::abs(got - wanted);
    if (std::isnan(apart)) apart = std::numeric_limits<double>::infinity();
    ++samples_;
    sum_ += apart;
    largest_ = std::max(largest_, std::abs(wanted));
    double& of_class = by_row_[row % 16];
    of_class = std::max(of_class, apart);
}

CertifiedOutput Comparison::result() const {
    CertifiedOutput output{.name = name_, .samples = samples_, .tolerance = tolerance_};
    if (samples_ == 0) return output;
    const double size = tolerance_ == kExact || largest_ == 0 ? 1 : largest_;
    output.mean = sum_ / size / static_cast<double>(samples_);
    for (size_t i = 0; i < output.by_row.size(); ++i) {
        output.by_row[i] = by_row_[i] / size;
        output.worst = std::max(output.worst, output.by_row[i]);
    }
    return output;
}

}  // namespace hetune
