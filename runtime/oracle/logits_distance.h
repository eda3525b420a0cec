// Distance of two sets of logits.
#pragma once

#include <cstdint>
#include <span>

namespace hetune {

struct LogitsDistance {
    double mean_kl = 0;    // of softmax(reference) against softmax(other), natural logarithm
    double median_kl = 0;  // of the rows: a few that chose other experts do not move it
    double max_kl = 0;
    double top1 = 0;     // percent of rows whose largest logit is at the same place
    double max_abs = 0;  // of the logits
    int64_t rows = 0;
};

// Both [rows, vocabulary].
LogitsDistance compare_logits(std::span<const float> reference, std::span<const float> other,
                              int64_t vocabulary);

}  // namespace hetune
