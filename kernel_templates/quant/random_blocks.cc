#include "kernel_templates/quant/random_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string_view>

namespace hetune {
namespace {

// Where a block keeps its half-precision scale, and its offset as a multiple of the scale that
// centres the weights; `equal_sub_offsets` gives each sub-block's offset the bits of its scale.
struct BlockLayout {
    std::string_view name;
    int scale_at;
    int offset_at = -1;
    double offset_ratio = 0;
    void (*equal_sub_offsets)(uint8_t* block) = nullptr;
};

void equal_nibbles(uint8_t* block) {  // Q2_K
    for (int i = 0; i < 16; ++i) block[i] = static_cast<uint8_t>((block[i] & 15) * 17);
}
void equal_six_bits(uint8_t* block) {  // Q4_K, Q5_K: 12 bytes for 8 scales and 8 minima
    uint8_t* packed = block + 4;
    for (int i = 0; i < 4; ++i) {
        packed[4 + i] = packed[i];
        packed[8 + i] = static_cast<uint8_t>((packed[8 + i] & 15) * 17);
    }
}

constexpr BlockLayout kLayouts[] = {
    {"Q4_0", 0},
    {"Q5_0", 0},
    {"Q8_0", 0},
    {"IQ4_NL", 0},
    {"IQ4_XS", 0},
    {"Q3_K", 108},
    {"Q6_K", 208},
    {"Q4_1", 0, 2, -7.5},
    {"Q5_1", 0, 2, -15.5},
    {"Q2_K", 80, 82, 1.5, equal_nibbles},
    {"Q4_K", 0, 2, 7.5, equal_six_bits},
    {"Q5_K", 0, 2, 15.5, equal_six_bits},
};

// Of a finite value within half precision's range.
uint16_t half_bits(double value) {
    const double size = std::fabs(value);
    const int sign = value < 0 ? 0x8000 : 0;
    if (size < 0x1p-14) return static_cast<uint16_t>(sign | std::lround(size * 0x1p24));
    int exponent;
    const double fraction = std::frexp(size, &exponent);  // 0.5 <= fraction < 1
    return static_cast<uint16_t>(
        sign | (((exponent + 14) << 10) + std::lround((2 * fraction - 1) * 1024)));
}

void put_half(uint8_t* at, double value) {
    const uint16_t bits = half_bits(value);
    std::memcpy(at, &bits, 2);
}

void put_float(const QuantFormat& format, uint8_t* at, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (format.block_bytes == 4)
        std::memcpy(at, &bits, 4);
    else if (format.name == std::string_view("BF16"))
        std::memcpy(at, reinterpret_cast<uint8_t*>(&bits) + 2, 2);
    else
        put_half(at, static_cast<double>(value));
}

double rms_of(const QuantFormat& format, const std::vector<uint8_t>& blocks, int64_t count) {
    std::vector<float> values(static_cast<size_t>(format.block_elems));
    double squares = 0;
    for (int64_t b = 0; b < count; ++b) {
        format.dequantise(blocks.data() + b * format.block_bytes, values.data());
        for (const float v : values) squares += static_cast<double>(v) * static_cast<double>(v);
    }
    return std::sqrt(squares / static_cast<double>(count * format.block_elems));
}

std::vector<uint8_t> random_bits(size_t bytes, std::mt19937_64& random) {
    std::vector<uint8_t> made(bytes);
    for (size_t at = 0; at < bytes; at += 8) {
        const uint64_t bits = random();
        std::memcpy(made.data() + at, &bits, std::min<size_t>(8, bytes - at));
    }
    return made;
}

std::vector<uint8_t> random_floats(const QuantFormat& format, int64_t count, double rms,
                                   std::mt19937_64& random) {
    std::vector<uint8_t> blocks(static_cast<size_t>(count * format.block_bytes));
    std::normal_distribution<float> normal(0.0f, static_cast<float>(rms));
    for (int64_t b = 0; b < count; ++b)
        put_float(format, blocks.data() + b * format.block_bytes, normal(random));
    return blocks;
}

}  // namespace

std::vector<uint8_t> random_blocks(const QuantFormat& format, int64_t count, double rms,
                                   std::mt19937_64& random) {
    if (format.block_elems == 1) return random_floats(format, count, rms, random);
    std::vector<uint8_t> blocks =
        random_bits(static_cast<size_t>(count * format.block_bytes), random);
    const BlockLayout& layout = *std::ranges::find(kLayouts, format.name, &BlockLayout::name);
    const auto set_scale = [&](double scale) {
        for (int64_t b = 0; b < count; ++b) {
            uint8_t* block = blocks.data() + b * format.block_bytes;
            put_half(block + layout.scale_at, scale);
            if (layout.offset_at >= 0)
                put_half(block + layout.offset_at, scale * layout.offset_ratio);
            if (layout.equal_sub_offsets != nullptr) layout.equal_sub_offsets(block);
        }
    };
    set_scale(1.0);
    set_scale(rms / rms_of(format, blocks, std::min<int64_t>(count, 256)));
    return blocks;
}

std::vector<uint8_t> uneven_blocks(const QuantFormat& format, int64_t count, double rms,
                                   std::mt19937_64& random) {
    if (format.block_elems == 1) return random_floats(format, count, rms, random);
    std::vector<uint8_t> blocks =
        random_bits(static_cast<size_t>(count * format.block_bytes), random);
    const BlockLayout& layout = *std::ranges::find(kLayouts, format.name, &BlockLayout::name);
    const auto set_scales = [&](double scale) {
        for (int64_t b = 0; b < count; ++b) {
            uint8_t* block = blocks.data() + b * format.block_bytes;
            // 0.75 to 1.25 of it; a quarter of the offset that would centre the weights, or more.
            const double own = scale * (0.75 + 0.5 * static_cast<double>(b * 37 % 64) / 63);
            put_half(block + layout.scale_at, own);
            if (layout.offset_at >= 0)
                put_half(
                    block + layout.offset_at,
                    own * layout.offset_ratio * (0.25 + static_cast<double>(b * 29 % 64) / 63));
        }
    };
    set_scales(1.0);
    set_scales(rms / rms_of(format, blocks, std::min<int64_t>(count, 256)));
    return blocks;
}

}  // namespace hetune
