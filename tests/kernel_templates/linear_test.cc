// The linear kernels against the oracle: every format, float and 8-bit activations, tails.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernel_templates/quant/registry.h"
#include "runtime/trial/samples.h"
#include "tests/kernel_templates/kernel_run.h"
#include "tests/kernel_templates/quantised_matrix.h"

namespace hetune::testing {
namespace {

struct Shape {
    std::string format;
    int64_t rows, cols;
    int tokens, waves;
    bool quantised = true, bias = false, matrix = false, tiled = false;

    KernelSpec spec() const {
        return {"gemv",
                {{"Quant", format},
                 {"kRows", constant(rows)},
                 {"kCols", constant(cols)},
                 {"kTokens", constant(tokens)},
                 {"kMatrix", constant(matrix)},
                 {"kQuantisedInput", constant(quantised)},
                 {"kTiledInput", constant(tiled)},
                 {"kBias", constant(bias)},
                 {"kWaves", constant(waves)}}};
    }
};

KernelCase gemv(const std::string& format, int64_t rows, int64_t cols, int tokens, int token_rows,
                int waves, bool quantised, bool bias) {
    return {.spec = Shape{format, rows, cols, tokens, waves, quantised, bias}.spec(),
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

// A batch owes each sequence the tokens that it gets alone.
TEST_CASE(
    "with many tokens at a time, and by integer matrix units, a row has the bits of one alone") {
    constexpr int64_t kRows = 70, kTokens = 19;
    for (const QuantFormat& format : all_quants()) {
        if (!format.integer) continue;
        const int64_t cols = 5 * format.tile_elems;
        const Matrix matrix(format, kRows, cols, 7);
        auto values = random_floats(static_cast<size_t>(kTokens * cols), 11);
        const std::vector<HostXBlock> x = quantise(values);
        const std::vector<HostXTile> tiles = token_tiles(x, cols);
        const auto products = [&](const Shape& shape) {
            KernelRun run(shape.spec());
            run.step(0, kTokens).in(matrix.tiles());
            (shape.tiled ? run.in(tiles) : run.in(x)).out(4).out(kTokens * kRows * 4);
            run.launch({groups_of(kRows, 32), groups_of(kTokens, shape.tokens)},
                       static_cast<uint32_t>(32 * shape.waves));
            return run.get<float>(4);
        };
        for (const int waves : {1, 2, 4}) {
            CAPTURE(std::string(format.name));
            CAPTURE(waves);
            const std::vector<float> alone = products({format.name, kRows, cols, 1, waves});
            CHECK(std::ranges::all_of(alone, [](float v) { return std::isfinite(v); }));
            for (const int tokens : {2, 8})
                CHECK(products({format.name, kRows, cols, tokens, waves}) == alone);
            for (const int tokens : {8, 16, 32})
                for (const bool tiled : {false, true})
                    CHECK(products({.format = format.name,
                                    .rows = kRows,
                                    .cols = cols,
                                    .tokens = tokens,
                                    .waves = waves,
                                    .matrix = true,
                                    .tiled = tiled}) == alone);
        }
    }
}

}  // namespace
}  // namespace hetune::testing
