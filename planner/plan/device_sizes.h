// Bytes of the structs that kernels and host share (kernel_templates: XBlock, StepState,
// SamplerState, the ring of drawn tokens, LoopState). Checked where those headers can be read
// (quant/registry.cc, load/sampling.cc).
#pragma once

#include <cstdint>

namespace hetune {

constexpr int64_t kXBlockBytes = 48;
constexpr int64_t kStepBytes = 8;
constexpr int64_t kSamplerBytes = 4 * (9 + 2 + 16 + 1024);
constexpr int64_t kTokenRingBytes = 4 * 64;
constexpr int64_t kLoopBytes = 16;

}  // namespace hetune
