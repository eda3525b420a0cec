// The CPU backend ("cpu").
#pragma once

#include <memory>

#include "runtime/device/device.h"

namespace hetune {

// `threads` 0: one for each core this process may use. Needs the kernels compiled for arch() by
// clang, as CodeObjects that are shared objects. arch() is "x86-64-v4" where the processor has
// AVX-512 with VNNI, else "x86-64-v3", unless HETUNE_CPU_ARCH names one; throws DeviceError where
// the processor cannot run that.
std::unique_ptr<Device> open_cpu_device(int threads);

}  // namespace hetune
