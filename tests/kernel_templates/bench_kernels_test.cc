// The kernels that a device's own rates are measured with: they do what is counted.
#include <doctest/doctest.h>

#include <array>

#include "tests/kernel_templates/kernel_run.h"

namespace hetune {
namespace {

using namespace testing;

TEST_CASE("read_memory reads every word") {
    constexpr size_t kGroups = 3, kPieces = 2, kPasses = 3, kWaves = 2, kThreads = 32 * kWaves;
    std::vector<uint32_t> words(kGroups * kPasses * kPieces * kThreads * 4);
    for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint32_t>(i * 2654435761u);
    std::vector<uint32_t> wanted(kGroups * kWaves);
    for (size_t i = 0; i < words.size(); ++i) {
        const size_t group = i / (words.size() / kGroups), thread = i / 4 % kThreads;
        wanted[group * kWaves + thread / 32] += words[i];
    }
    KernelRun run({"read_memory", {{"kPieces", "2"}, {"kPasses", "3"}, {"kWaves", "2"}}});
    run.in(words).out(wanted.size() * 4).launch({kGroups}, kThreads);
    CHECK(run.get<uint32_t>(1) == wanted);
}

TEST_CASE("matrix_rate multiplies each of two tiles with each of four, as often as it says") {
    constexpr size_t kGroups = 2, kWaves = 2;
    constexpr std::array<std::pair<uint16_t, float>, 4> kValues = {
        {{0x3c00, 1.0f}, {0x3800, 0.5f}, {0xbc00, -1.0f}, {0x0000, 0.0f}}};
    std::vector<uint16_t> halves(6 * 256);
    std::vector<float> values;
    for (size_t i = 0; i < halves.size(); ++i) {
        const auto& [bits, value] = kValues[i * 2654435761u >> 8 & 3];
        halves[i] = bits;
        values.push_back(value);
    }
    // The sum over all elements of A B^T is the sum over k of the columns' sums.
    float sum = 0;
    for (size_t a = 0; a < 2; ++a)
        for (size_t b = 2; b < 6; ++b)
            for (size_t k = 0; k < 16; ++k) {
                float column_a = 0, column_b = 0;
                for (size_t r = 0; r < 16; ++r) {
                    column_a += values[a * 256 + r * 16 + k];
                    column_b += values[b * 256 + r * 16 + k];
                }
                sum += column_a * column_b;
            }
    KernelRun run({"matrix_rate", {{"kLoops", "3"}, {"kWaves", "2"}}});
    run.in(halves).out(kGroups * kWaves * 4).launch({kGroups}, 32 * kWaves);
    CHECK(run.get<float>(1) == std::vector<float>(kGroups * kWaves, 3 * sum));
}

}  // namespace
}  // namespace hetune
