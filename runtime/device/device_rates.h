// What a device really does of what its maker says: measured, for benches to compare with.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/compile/kernel_library.h"
#include "runtime/device/device.h"

namespace hetune {

struct DeviceRates {
    double read_gb_s = 0;      // a kernel that only reads
    int64_t read_bytes = 0;    // how much in one pass
    double matrix_tflops = 0;  // f16 with f32 accumulation; 0: not measured
    std::string matrix_how;    // "a loop of matrix instructions, ...", or why there is none
};

// The best of a few passes each, behind one to warm up. Takes 8 GiB of device memory while it runs,
// or half of what is free. Once `over()` is true the rates that are missing stay 0. Throws
// DeviceError and CompileError.
DeviceRates measure_rates(Device& device, KernelLibrary& library,
                          const std::function<bool()>& over = {});

}  // namespace hetune
