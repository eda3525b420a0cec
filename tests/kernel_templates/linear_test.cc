// The linear kernels against the oracle: every format, float and 8-bit activations, tails.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "kernel_templates/quant/registry.h"
#include "runtime/oracle/primitives.h"
#include "tests/kernel_templates/kernel_run.h"
#include "tests/kernel_templates/quantised_matrix.h"

namespace hetune::testing {
namespace {

constexpr double kFloatTolerance = 1e-4;  // sums of K floats in another order
// The same: the oracle multiplies the very blocks that the kernel gets, whose products of integers
// are exact.
constexpr double kQuantisedTolerance = 2e-4;

struct Case {
    const QuantFormat* format;
    int64_t rows, cols;
    int tokens, token_rows, waves;
    bool quantised, bias;

    KernelSpec spec() const {
        return {"gemv",
                {{"Quant", format->name},
                 {"kRows", std::to_string(rows)},
                 {"kCols", std::to_string(cols)},
                 {"kTokens", std::to_string(tokens)},
                 {"kQuantisedInput", quantised ? "true" : "false"},
                 {"kBias", bias ? "true" : "false"},
                 {"kWaves", std::to_string(waves)}}};
    }
};

std::vector<Case> cases() {
    std::vector<Case> list;
    for (const QuantFormat& format : all_quants())
        for (const bool quantised : {false, true}) {
            if (quantised && !format.integer) continue;
            list.push_back({&format, 33, 512, 1, 1, 1, quantised, false});
            list.push_back({&format, 64, 768, 4, 7, 2, quantised, true});
        }
    for (const char* name : {"Q4_K", "F16"})
        for (const int64_t rows : {1, 7, 33, 257})
            for (const int64_t cols : {256, 1280, 4096}) {
                const QuantFormat* format = find_quant(name);
                list.push_back({format, rows, cols, 1, 9, 2, format->integer, false});
            }
    return list;
}

TEST_CASE(
    "gemv equals the oracle for every format, with tails, biases, and tokens beyond the step") {
    const std::vector<Case> list = cases();
    std::vector<KernelSpec> specs;
    for (const Case& c : list) specs.push_back(c.spec());
    compile_all(specs);
    for (const Case& c : list) {
        CAPTURE(c.spec().to_string());
        const Matrix matrix(*c.format, c.rows, c.cols, 7);
        auto x = random_floats(static_cast<size_t>(c.token_rows * c.cols), 11);
        std::vector<uint8_t> blocks;
        if (c.quantised) {
            KernelRun quantise({"quantise", {{"kCols", std::to_string(c.cols)}, {"kWaves", "1"}}});
            quantise.step(5, c.token_rows).in(x).out(x.size() / 32 * 48);
            quantise.launch(
                {static_cast<uint32_t>(c.cols / 32), static_cast<uint32_t>(c.token_rows)}, 32);
            blocks = quantise.get<uint8_t>(2);
            x = values_of_blocks(blocks);
        }
        const auto bias = random_floats(static_cast<size_t>(c.rows), 13);
        std::vector<float> wanted(static_cast<size_t>(c.token_rows * c.rows));
        reference::linear(matrix.tensor, 0, c.rows, x, wanted);
        if (c.bias)
            for (size_t i = 0; i < wanted.size(); ++i)
                wanted[i] += bias[i % static_cast<size_t>(c.rows)];

        KernelRun run(c.spec());
        run.step(5, c.token_rows).in(matrix.tiles());
        if (c.quantised) {
            run.in(blocks);
        } else {
            run.in(x);
        }
        run.in(bias).out(wanted.size() * 4);
        run.launch({static_cast<uint32_t>((c.rows + 31) / 32),
                    static_cast<uint32_t>((c.token_rows + c.tokens - 1) / c.tokens)},
                   static_cast<uint32_t>(32 * c.waves));
        CHECK(relative_error(run.get<float>(4), wanted) <
              (c.quantised ? kQuantisedTolerance : kFloatTolerance));
    }
}

}  // namespace
}  // namespace hetune::testing
