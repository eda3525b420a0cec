// The quantisations that hetune can run, as plain values for host code. Made from the headers of
// this folder; a new format is one header and its name in kernel_templates/CMakeLists.txt.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace hetune {

struct QuantFormat {
    const char* name;  // "Q4_K": also the type's name in templates
    uint32_t ggml_type;
    int64_t block_elems;
    int64_t block_bytes;
    int64_t tile_elems;  // columns of a tile; rows are 32
    int64_t tile_bytes;
    bool integer;  // can be multiplied with quantised activations

    // See quant/tile.h. `blocks`: one row's blocks for tile_elems columns, as in the file.
    void (*pack_row)(uint8_t* tile, int lane, const uint8_t* blocks);
    void (*unpack_row)(uint8_t* blocks, int lane, const uint8_t* tile);
    // The oracle's: block_elems values of one block.
    void (*dequantise)(const uint8_t* block, float* out);
    // Whether all scales and offsets of so many blocks, or all weights of a format without scales,
    // are finite.
    bool (*finite)(const uint8_t* blocks, int64_t count);
    // The kernels' own loads, run on the host: 32 values of row `lane` at column 32 * step.
    void (*load)(const uint8_t* tile, int lane, int step, float* out);
};

std::span<const QuantFormat> all_quants();
// nullptr when there is none.
const QuantFormat* find_quant(uint32_t ggml_type);
const QuantFormat* find_quant(std::string_view name);

// Bytes of a matrix in tiles: [ceil(rows / 32), cols / tile_elems, tile_bytes].
int64_t tiles_bytes(const QuantFormat& format, int64_t rows, int64_t cols);

// Row tiles [first, last) of a matrix: `raw` is the whole matrix as in the file, `tiles` the whole
// destination. Ranges may be packed by several threads at once.
void pack_tiles(const QuantFormat& format, int64_t rows, int64_t cols, const uint8_t* raw,
                uint8_t* tiles, int64_t first, int64_t last);

}  // namespace hetune
