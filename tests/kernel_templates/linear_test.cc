// The linear kernels against the oracle: every format, float and 8-bit activations, tails.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>
#include <random>

#include "kernel_templates/quant/registry.h"
#include "runtime/reference/primitives.h"
#include "tests/kernel_templates/kernel_run.h"

namespace hetune::testing {
namespace {

constexpr double kFloatTolerance = 1e-4;      // sums of K floats in another order
constexpr double kQuantisedTolerance = 1e-2;  // one of 127 steps an activation, averaged over K

// A matrix of real blocks, as llama.cpp quantised them, in an order of our own.
struct Matrix {
    const QuantFormat& format;
    int64_t rows, cols;
    std::vector<uint8_t> raw;
    Tensor tensor;

    Matrix(const QuantFormat& quant, int64_t r, int64_t c, uint32_t seed)
        : format(quant), rows(r), cols(c) {
        const std::vector<uint8_t> blocks =
            quant.name == std::string("F32") ? float_blocks() : block_file(quant.name);
        const auto size = static_cast<size_t>(format.block_bytes);
        std::mt19937 engine(seed);
        for (int64_t i = 0; i < rows * cols / format.block_elems; ++i) {
            const size_t at = engine() % (blocks.size() / size) * size;
            raw.insert(raw.end(), blocks.begin() + static_cast<int64_t>(at),
                       blocks.begin() + static_cast<int64_t>(at + size));
        }
        tensor = {"w", format.ggml_type, {cols, rows}, std::as_bytes(std::span(raw))};
    }

    std::vector<uint8_t> tiles() const {
        std::vector<uint8_t> packed(static_cast<size_t>(tiles_bytes(format, rows, cols)));
        pack_tiles(format, rows, cols, raw.data(), packed.data(), 0, (rows + 31) / 32);
        return packed;
    }

  private:
    static std::vector<uint8_t> block_file(const std::string& name) {
        std::ifstream file(HETUNE_TEST_MODELS "/blocks/" + name + ".bin", std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    static std::vector<uint8_t> float_blocks() {
        const std::vector<float> values = random_floats(4096, 3);
        const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
        return {bytes, bytes + values.size() * 4};
    }
};

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

TEST_CASE("gemv equals the oracle for every format, with tails, biases, and tokens beyond the step") {
    const std::vector<Case> list = cases();
    std::vector<KernelSpec> specs;
    for (const Case& c : list) specs.push_back(c.spec());
    compile_all(specs);
    for (const Case& c : list) {
        CAPTURE(c.spec().to_string());
        const Matrix matrix(*c.format, c.rows, c.cols, 7);
        const auto x = random_floats(static_cast<size_t>(c.token_rows * c.cols), 11);
        const auto bias = random_floats(static_cast<size_t>(c.rows), 13);
        std::vector<float> wanted(static_cast<size_t>(c.token_rows * c.rows));
        reference::linear(matrix.tensor, 0, c.rows, x, wanted);
        if (c.bias)
            for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += bias[i % static_cast<size_t>(c.rows)];

        KernelRun run(c.spec());
        run.step(5, c.token_rows).in(matrix.tiles());
        if (c.quantised) {
            KernelRun quantise({"quantise", {{"kCols", std::to_string(c.cols)}, {"kWaves", "1"}}});
            const size_t bytes = x.size() / 32 * 48;
            quantise.step(5, c.token_rows).in(x).out(bytes);
            quantise.launch({static_cast<uint32_t>(c.cols / 32), static_cast<uint32_t>(c.token_rows)}, 32);
            run.in(quantise.get<uint8_t>(2));
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
