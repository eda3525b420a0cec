// The linear kernels against the oracle: every format, float and 8-bit activations, tails.
#include <doctest/doctest.h>

#include "kernel_templates/quant/registry.h"
#include "tests/kernel_templates/kernel_run.h"

namespace hetune::testing {
namespace {

KernelCase gemv(const std::string& format, int64_t rows, int64_t cols, int tokens, int token_rows,
                int waves, bool quantised, bool bias) {
    return {.spec = {"gemv",
                     {{"Quant", format},
                      {"kRows", constant(rows)},
                      {"kCols", constant(cols)},
                      {"kTokens", constant(tokens)},
                      {"kQuantisedInput", constant(quantised)},
                      {"kBias", constant(bias)},
                      {"kWaves", constant(waves)}}},
            .groups = {groups_of(rows, 32), groups_of(token_rows, tokens)},
            .threads = static_cast<uint32_t>(32 * waves),
            .rows = token_rows,
            .behind = {{"w", {format, rows, cols}}, {"bias", {"floats", 1, rows}}},
            // Sums of K floats in another order. Products of 8-bit blocks are exact integers.
            .tolerance = quantised ? 2e-4 : 1e-4};
}

TEST_CASE(
    "gemv equals the oracle for every format, with tails, biases, and tokens beyond the step") {
    std::vector<KernelCase> cases;
    for (const QuantFormat& format : all_quants())
        for (const bool quantised : {false, true}) {
            if (quantised && !format.integer) continue;
            cases.push_back(gemv(format.name, 33, 512, 1, 1, 1, quantised, false));
            cases.push_back(gemv(format.name, 64, 768, 4, 7, 2, quantised, true));
        }
    for (const char* name : {"Q4_K", "F16"})
        for (const int64_t rows : {1, 7, 33, 257})
            for (const int64_t cols : {256, 1280, 4096})
                cases.push_back(gemv(name, rows, cols, 1, 9, 2, find_quant(name)->integer, false));
    check(cases);
}

}  // namespace
}  // namespace hetune::testing
