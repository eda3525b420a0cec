// Bytes of the structs that kernels and host share (kernel_templates: XBlock, StepState,
// SamplerState, the ring of drawn tokens, LoopState). Checked where those headers can be read
// (quant/registry.cc, load/sampling.cc).
#pragma once

#include <cstdint>

namespace hetune {

constexpr int64_t kXBlockBytes = 48;
constexpr int64_t kXTileBytes = 8 * kXBlockBytes;  // of 8 rows
// StepState and a RowState for each row.
constexpr int64_t step_bytes(int64_t rows) { return 16 + 16 * rows; }
constexpr int64_t kPageTokens = 64;  // positions of a page of KV cache (attention/kv_pages.h)
// Tokens that the delta net of a prefill step computes together, where the step has so many rows.
constexpr int64_t kDeltaNetChunk = 32;
constexpr int64_t kSamplerBytes = 4 * (9 + 2 + 16 + 1024);
constexpr int64_t kTokenRingBytes = 4 * 64;
constexpr int64_t kLoopBytes = 16;

}  // namespace hetune
