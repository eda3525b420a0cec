// Random weights in any format that hetune reads.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernel_templates/quant/registry.h"

namespace hetune {

// `count` valid blocks as in a file: every bit pattern of the quants and sub-scales is possible,
// the mean is near 0 and the root mean square is `rms`.
std::vector<uint8_t> random_blocks(const QuantFormat& format, int64_t count, double rms,
                                   std::mt19937_64& random);

// The same for trials of kernels: every block has another scale, and offsets have bits of their
// own, so that a kernel that takes one for another is found out. The mean is anywhere.
std::vector<uint8_t> uneven_blocks(const QuantFormat& format, int64_t count, double rms,
                                   std::mt19937_64& random);

}  // namespace hetune
