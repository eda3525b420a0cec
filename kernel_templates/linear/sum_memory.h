// LDS of SumMemory (row_tile.h), from the constants of a kernel. Not part of any kernel.
#pragma once

#include "kernel_templates/catalogue.h"

namespace hetune {

inline int64_t sum_memory_bytes(const SpecValues& v) {
    const bool matrix = v("kMatrix") != 0;
    if (v("kWaves") == 1 && !matrix) return 0;
    return v("kWaves") * (matrix ? 16 : v("kTokens")) * 128;
}

}  // namespace hetune
