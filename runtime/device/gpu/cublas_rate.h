// The matrix rate of an NVIDIA GPU as its vendor's library reaches it: what benches divide by.
#pragma once

#include <optional>
#include <string>

#include "runtime/device/device.h"

namespace hetune {

struct LibraryRate {
    double tflops = 0;
    std::string how;  // "cuBLAS 13.0.2, 8192 x 8192 x 8192, f16 with f32 accumulation"
};

// Multiplies two square matrices of 8192 on `device`, which must be of the "cuda" backend, and
// takes the best of a few. Nothing where there is no cuBLAS (12 or 13) or where it fails: then
// nobody can say what it would have reached. Throws DeviceError instead where HETUNE_CUBLAS_LIBRARY
// names one.
std::optional<LibraryRate> cublas_rate(Device& device);

}  // namespace hetune
