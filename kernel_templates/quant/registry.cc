#include "kernel_templates/quant/registry.h"

#include <algorithm>
#include <cstring>

#define HETUNE_HOST 1
// The device side has no namespace of its own; here it gets one.
namespace hetune::device {
#include "linear/row_tile.h"
#include "quant_headers.inc"  // made by CMake: every format's header
}  // namespace hetune::device

namespace hetune {
namespace {

template <class Quant>
constexpr QuantFormat describe() {
    return {.name = Quant::kName,
            .ggml_type = Quant::kGgmlType,
            .block_elems = Quant::kBlockElems,
            .block_bytes = Quant::kBlockBytes,
            .tile_elems = Quant::kTileElems,
            .tile_bytes = Quant::kTileBytes,
            .integer = Quant::kInteger,
            .pack_row = Quant::pack_row,
            .unpack_row = Quant::unpack_row,
            .dequantise = Quant::dequantise,
            .finite =
                [](const uint8_t* blocks, int64_t count) {
                    bool all = true;
                    for (int64_t i = 0; i < count; ++i)
                        all &= Quant::finite(blocks + i * Quant::kBlockBytes);
                    return all;
                },
            .load =
                [](const uint8_t* tile, int lane, int step, float* out) {
                    float values[32];
                    device::load_floats<Quant>(tile, lane, step, values);
                    std::memcpy(out, values, sizeof values);
                }};
}

constexpr QuantFormat kFormats[] = {
#include "quant_list.inc"  // made by CMake: describe<device::Q4_K>(), ...
};

}  // namespace

std::span<const QuantFormat> all_quants() { return kFormats; }

const QuantFormat* find_quant(uint32_t ggml_type) {
    const auto* found = std::ranges::find(kFormats, ggml_type, &QuantFormat::ggml_type);
    return found == std::end(kFormats) ? nullptr : found;
}

const QuantFormat* find_quant(std::string_view name) {
    const auto* found = std::ranges::find(kFormats, name, &QuantFormat::name);
    return found == std::end(kFormats) ? nullptr : found;
}

int64_t tiles_bytes(const QuantFormat& format, int64_t rows, int64_t cols) {
    return (rows + 31) / 32 * (cols / format.tile_elems) * format.tile_bytes;
}

void pack_tiles(const QuantFormat& format, int64_t rows, int64_t cols, const uint8_t* raw,
                uint8_t* tiles, int64_t first, int64_t last) {
    const int64_t per_row = cols / format.tile_elems;
    const int64_t piece = format.tile_elems / format.block_elems * format.block_bytes;
    for (int64_t r = first; r < last; ++r) {
        uint8_t* to = tiles + r * per_row * format.tile_bytes;
        if (rows < (r + 1) * 32)
            std::memset(to, 0, static_cast<size_t>(per_row * format.tile_bytes));
        for (int64_t lane = 0; lane < std::min<int64_t>(32, rows - r * 32); ++lane) {
            const uint8_t* from = raw + (r * 32 + lane) * per_row * piece;
            for (int64_t t = 0; t < per_row; ++t)
                format.pack_row(to + t * format.tile_bytes, static_cast<int>(lane),
                                from + t * piece);
        }
    }
}

}  // namespace hetune
