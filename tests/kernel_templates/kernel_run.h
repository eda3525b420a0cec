// Single kernels for tests: tried out by their certifiers (KernelCase), or launched with the test's
// own inputs in guarded buffers (KernelRun). On the CPU device, or on the backend that
// HETUNE_TEST_BACKEND names ("cuda", "hip", "emulator").
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernel_templates/spec.h"
#include "runtime/load/step_state.h"
#include "runtime/trial/certify.h"

namespace hetune::testing {

// Groups of `size` that cover `count`.
inline uint32_t groups_of(int64_t count, int64_t size) {
    return static_cast<uint32_t>((count + size - 1) / size);
}
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
    // Rows of one sequence, in the first slot.
    KernelRun& step(int position, int rows) {
        std::vector<StepRow> places;
        for (int row = 0; row < rows; ++row) places.push_back({position + row, 0});
        // A step without rows has the place of one.
        if (rows == 0) places.push_back({position, 0});
        std::vector<int32_t> state = step_state(places, {});
        state[0] = rows;
        return in(state);
    }

    // Throws std::runtime_error when something was written before or behind a buffer.
    void launch(std::vector<uint32_t> groups, uint32_t threads);

    // Buffer `index` after the launch.
    template <class T>
    std::vector<T> get(size_t index) const {
        std::vector<T> values(memory_[index].size() / sizeof(T));
        std::memcpy(values.data(), memory_[index].data(), values.size() * sizeof(T));
        return values;
    }

  private:
    KernelRun& add(std::span<const std::byte> from, size_t bytes);

    KernelSpec spec_;
    std::vector<std::vector<std::byte>> memory_;
};

// A kernel at a shape of a test's choice, tried out by its certifier (runtime/trial): made inputs,
// poisoned and guarded outputs, all of them compared with the oracle's.
struct KernelCase {
    // What stands behind a parameter, where its certifier asks for the size: a matrix of a format
    // (its name), "floats" of a vector, "turns" of rotary pairs, or "bytes" of scratch memory.
    struct Behind {
        std::string kind;
        int64_t rows = 1, cols = 0;
    };
    KernelSpec spec;
    std::vector<uint32_t> groups;
    uint32_t threads = 32;
    int rows = 1;  // of the launch; of more than eight the last three are beyond the step
    std::map<std::string, Behind> behind = {};
    double tolerance = 1;  // of the largest value, where that is less than the certifier allows
    std::optional<int64_t> position = {};
    int rows_per_group = 1;  // PlanStep::rows_per_group

    Certificate certificate() const;
};
// Compiles all of them with every core, and checks that each passes its trial.
void check(const std::vector<KernelCase>& cases);

// The values that rows of 8-bit blocks stand for (kernel_templates/elementwise/xblock.h), 48 bytes
// for 32 values: what a kernel is fed, so that its own error is all that a comparison sees.
std::vector<float> values_of_blocks(std::span<const uint8_t> bytes);
// The same of rows of halves with a scale behind them, [rows][2 cols + 16 bytes].
std::vector<float> values_of_half_rows(std::span<const uint8_t> bytes, int64_t cols);

// max |a - b| / max |b|: the error relative to the size of the result. NaN gives infinity.
double relative_error(std::span<const float> got, std::span<const float> wanted);

}  // namespace hetune::testing
