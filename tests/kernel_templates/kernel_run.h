// Runs one spec with guarded buffers: what a kernel must not touch is checked after the launch. On
// the CPU device, or on the backend that HETUNE_TEST_BACKEND names ("cuda", "hip", "emulator").
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernel_templates/spec.h"
#include "runtime/compile/compiler.h"
#include "runtime/device/device.h"

namespace hetune::testing {

// Compiles all specs for the device with every core; later launches of them find their object.
void compile_all(const std::vector<KernelSpec>& specs);
// The object of one spec for the device.
const CodeObject& object_of(const KernelSpec& spec);

// Seeded values in -1 .. 1.
std::vector<float> random_floats(size_t count, uint32_t seed);

// Buffers of one launch in the order of the kernel's parameters.
class KernelRun {
  public:
    explicit KernelRun(KernelSpec spec) : spec_(std::move(spec)) {}

    template <class T>
    KernelRun& in(const std::vector<T>& values) {
        return add(std::as_bytes(std::span(values)), values.size() * sizeof(T));
    }
    // Poisoned with NaN patterns.
    KernelRun& out(size_t bytes) { return add({}, bytes); }
    KernelRun& step(int position, int rows) { return in(std::vector<int32_t>{position, rows}); }

    // Throws std::runtime_error when a guard behind a buffer was overwritten.
    void launch(std::vector<uint32_t> groups, uint32_t threads);

    // Buffer `index` after the launch.
    template <class T>
    std::vector<T> get(size_t index) const {
        std::vector<T> values(sizes_[index] / sizeof(T));
        std::memcpy(values.data(), memory_[index].data(), values.size() * sizeof(T));
        return values;
    }

  private:
    KernelRun& add(std::span<const std::byte> from, size_t bytes);

    KernelSpec spec_;
    std::vector<std::vector<std::byte>> memory_;
    std::vector<size_t> sizes_;
};

// The values that rows of 8-bit blocks stand for (kernel_templates/elementwise/xblock.h), 48 bytes
// for 32 values: what a kernel is fed, so that its own error is all that a comparison sees.
std::vector<float> values_of_blocks(std::span<const uint8_t> bytes);
// The same of rows of halves with a scale behind them, [rows][2 cols + 16 bytes].
std::vector<float> values_of_half_rows(std::span<const uint8_t> bytes, int64_t cols);
float half_value(uint16_t bits);

// max |a - b| / max |b|: the error relative to the size of the result. NaN gives infinity.
double relative_error(std::span<const float> got, std::span<const float> wanted);

}  // namespace hetune::testing
