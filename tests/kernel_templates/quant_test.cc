#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "kernel_templates/quant/registry.h"

using namespace hetune;

namespace {

std::vector<uint8_t> read_file(const std::string& name) {
    std::ifstream file(HETUNE_TEST_MODELS "/blocks/" + name, std::ios::binary);
    REQUIRE(file);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool has_reference(const QuantFormat& format) { return std::string(format.name) != "F32"; }

// 4 rows of 768 weights as llama.cpp stored them, and as it dequantised them.
struct Reference {
    std::vector<uint8_t> raw;
    std::vector<float> values;
    explicit Reference(const QuantFormat& format)
        : raw(read_file(format.name + std::string(".bin"))) {
        const auto bytes = read_file(format.name + std::string(".f32"));
        values.resize(bytes.size() / 4);
        std::memcpy(values.data(), bytes.data(), bytes.size());
        REQUIRE(values.size() == 4 * 768);
        REQUIRE(raw.size() == values.size() / format.block_elems * format.block_bytes);
    }
};

}  // namespace

TEST_CASE("dequantisation gives llama.cpp's values to the last place") {
    for (const QuantFormat& format : all_quants()) {
        if (!has_reference(format)) continue;
        CAPTURE(format.name);
        const Reference reference(format);
        std::vector<float> out(format.block_elems);
        for (size_t b = 0; b < reference.values.size() / format.block_elems; ++b) {
            format.dequantise(reference.raw.data() + b * format.block_bytes, out.data());
            for (size_t k = 0; k < out.size(); ++k) {
                const float expected = reference.values[b * format.block_elems + k];
                CHECK(std::fabs(out[k] - expected) <= std::fabs(expected) * 0x1p-23f);
            }
        }
    }
}

TEST_CASE("packing into tiles loses no bit") {
    std::mt19937 random(1);
    for (const QuantFormat& format : all_quants()) {
        CAPTURE(format.name);
        const size_t piece = format.tile_elems / format.block_elems * format.block_bytes;
        std::vector<uint8_t> tile(format.tile_bytes), back(piece);
        std::vector<std::vector<uint8_t>> rows(32, std::vector<uint8_t>(piece));
        for (auto& row : rows)
            for (auto& byte : row) byte = static_cast<uint8_t>(random());
        for (int lane = 0; lane < 32; ++lane) format.pack_row(tile.data(), lane, rows[lane].data());
        for (int lane = 0; lane < 32; ++lane) {
            CAPTURE(lane);
            for (auto& byte : back) byte = static_cast<uint8_t>(random());
            format.unpack_row(back.data(), lane, tile.data());
            CHECK(back == rows[lane]);
        }
    }
}

TEST_CASE("the kernels' loads agree with the oracle's dequantisation") {
    for (const QuantFormat& format : all_quants()) {
        if (!has_reference(format)) continue;
        CAPTURE(format.name);
        const Reference reference(format);
        std::vector<uint8_t> tiles(tiles_bytes(format, 4, 768));
        pack_tiles(format, 4, 768, reference.raw.data(), tiles.data(), 0, 1);
        float out[32];
        for (int row = 0; row < 4; ++row)
            for (int k = 0; k < 768; k += 32) {
                const uint8_t* tile = tiles.data() + k / format.tile_elems * format.tile_bytes;
                format.load(tile, row, static_cast<int>(k % format.tile_elems / 32), out);
                for (int i = 0; i < 32; ++i) {
                    const float expected = reference.values[row * 768 + k + i];
                    CHECK(out[i] == doctest::Approx(expected).epsilon(1e-5).scale(0.1));
                }
            }
    }
}

TEST_CASE("rows beyond the matrix are zero bytes") {
    const QuantFormat* format = find_quant("Q4_K");
    REQUIRE(format != nullptr);
    std::vector<uint8_t> raw(33 * format->block_bytes, 0xff);
    std::vector<uint8_t> tiles(tiles_bytes(*format, 33, 256), 0xaa);
    pack_tiles(*format, 33, 256, raw.data(), tiles.data(), 0, 2);
    std::vector<uint8_t> block(format->block_bytes);
    format->unpack_row(block.data(), 1, tiles.data() + format->tile_bytes);
    CHECK(block == std::vector<uint8_t>(format->block_bytes, 0));
}

TEST_CASE("F32 is kept as it is") {
    const QuantFormat* format = find_quant(uint32_t{0});
    REQUIRE(format != nullptr);
    std::vector<float> row(64);
    for (int i = 0; i < 64; ++i) row[i] = static_cast<float>(i) - 31.5f;
    std::vector<uint8_t> tiles(tiles_bytes(*format, 1, 64));
    pack_tiles(*format, 1, 64, reinterpret_cast<const uint8_t*>(row.data()), tiles.data(), 0, 1);
    float out[32];
    format->load(tiles.data() + format->tile_bytes, 0, 0, out);
    for (int i = 0; i < 32; ++i) CHECK(out[i] == row[32 + i]);
}
