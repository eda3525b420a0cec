// The CPU backend ("cpu").
#pragma once

#include <memory>

#include "runtime/device/device.h"

namespace hetune {

// `threads` 0: one for each core this process may use. Needs the kernels compiled for
// "x86-64-v3" by clang, as CodeObjects that are shared objects.
std::unique_ptr<Device> open_cpu_device(int threads);

}  // namespace hetune
