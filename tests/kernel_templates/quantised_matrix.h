// Matrices of every format for tests of linear kernels.
#pragma once

#include <cstdint>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "kernel_templates/quant/registry.h"
#include "planner/file/model_file.h"
#include "tests/kernel_templates/kernel_run.h"

namespace hetune::testing {

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

}  // namespace hetune::testing
