// Launch shapes where nothing is tuned.
#pragma once

#include <cstdint>

#include "planner/plan/arch.h"

namespace hetune {

// Number of waves for a kernel whose groups own 32 rows each, so that the device is filled.
int default_waves(const Arch& arch, int64_t groups, int64_t steps_of_k);

// Waves of half_rows: a lane has 16 columns or more, so that its loads are in flight together.
int half_rows_waves(const Arch& arch, int64_t cols);

// Shares of the context for attention in decode: enough groups for every compute unit.
int default_splits(const Arch& arch, int64_t groups, int most = 32);

}  // namespace hetune
