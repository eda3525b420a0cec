// The arch of the cpu device, as commands and messages name it: it depends on the processor and on
// HETUNE_CPU_ARCH.
#pragma once

#include <string>

#include "runtime/device/cpu_device.h"

namespace hetune::test {

inline std::string cpu_arch() { return open_cpu_device(1)->arch().name; }

}  // namespace hetune::test
