// The "emulator" backend: every launch goes to the program that HETUNE_EMULATOR names, which runs
// an AMD code object on the CPU (docs/testing.md has the interface). Never chosen by itself.
#pragma once

#include <memory>
#include <string>

#include "runtime/device/device.h"

namespace hetune {

// Buffers live in host memory under addresses of their own, so that a launch can tell which
// arguments are pointers: those that lie inside a live buffer. All kernel arguments must be 8
// bytes. A buffer that two arguments point into is given to the program twice: a kernel that reads
// through one what it has written through the other sees old bytes.
//
// A launch is done when it returns; one that fails throws DeviceError and changes no buffer.
// Throws DeviceError when `arch` is unknown.
struct EmulatorOptions {
    std::string schedule;  // --sched: the order of a group's waves; empty: the program's own
    std::string poison;  // --poison: what registers and LDS hold at first; empty: the program's own
};
std::unique_ptr<Device> open_emulator(const std::string& program, const std::string& arch,
                                      const EmulatorOptions& options = {});

}  // namespace hetune
