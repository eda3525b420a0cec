// The gated delta rule of a prefill step, chunk by chunk: for the list of lowerings.
#pragma once

#include "planner/graph/ops.h"
#include "planner/lower/lowering.h"

namespace hetune {

extern const Lowering<ops::DeltaNet> kDeltaNetByChunks;

}  // namespace hetune
