#include "runtime/certify/samples.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace hetune {

std::vector<int64_t> sample_of(int64_t count) {
    std::set<int64_t> rows;
    if (count <= 96) {
        for (int64_t i = 0; i < count; ++i) rows.insert(i);
    } else {
        for (int64_t i = count - 32; i < count; ++i) rows.insert(i);
        for (int64_t i = 0; i < 48; ++i) {
            // Steps through the range, and through the classes.
            const int64_t at = i * count / 48;
            rows.insert(std::min(at / 16 * 16 + i % 16, count - 1));
        }
    }
    return {rows.begin(), rows.end()};
}

std::vector<int64_t> sample_of_tiles(int64_t count) {
    const std::set<int64_t> tiles = {0, count / 3, count * 2 / 3, count - 1};
    return {tiles.begin(), tiles.end()};
}

std::vector<int64_t> sample_of_tokens(int64_t rows, int64_t turn) {
    const std::set<int64_t> tokens = {0, turn % rows, rows - 1};
    return {tokens.begin(), tokens.end()};
}

std::vector<float> seeded_floats(size_t count, std::mt19937& random) {
    std::vector<float> values(count);
    for (float& value : values)
        value = static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f;
    return values;
}

std::vector<HostXBlock> quantise(std::span<float> values) {
    std::vector<HostXBlock> blocks(values.size() / 32);
    for (size_t b = 0; b < blocks.size(); ++b) {
        const std::span<float> from = values.subspan(b * 32, 32);
        float peak = 0;
        for (const float v : from) peak = std::max(peak, std::abs(v));
        HostXBlock& block = blocks[b];
        block.scale = peak / 127.0f;
        int sums[2] = {};
        for (size_t i = 0; i < 32; ++i) {
            const int q = peak > 0 ? static_cast<int>(std::lround(from[i] / block.scale)) : 0;
            block.q[i] = static_cast<int8_t>(std::clamp(q, -127, 127));
            sums[i / 16] += block.q[i];
            from[i] = block.scale * static_cast<float>(block.q[i]);
        }
        block.sum = block.scale * static_cast<float>(sums[0] + sums[1]);
        block.sum_low = block.scale * static_cast<float>(sums[0]);
        block.sum_high = block.scale * static_cast<float>(sums[1]);
    }
    return blocks;
}

namespace {

float half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 31) return std::numeric_limits<float>::quiet_NaN();  // no kernel may store it
    const float size = exponent == 0
                           ? std::ldexp(static_cast<float>(mantissa), -24)
                           : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
    return bits & 0x8000 ? -size : size;
}

float bf16_value(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}

}  // namespace

int64_t KvShape::row_bytes() const {
    if (type == "KvQ8") return width() + (4 * heads + 15) / 16 * 16;
    return width() * (type == "KvF32" ? 4 : 2);
}

std::vector<float> kv_values(const KvShape& shape, std::span<const std::byte> bytes) {
    const auto row_bytes = static_cast<size_t>(shape.row_bytes()),
               width = static_cast<size_t>(shape.width());
    std::vector<float> values;
    for (size_t at = 0; at + row_bytes <= bytes.size(); at += row_bytes)
        for (size_t i = 0; i < width; ++i) {
            const std::byte* row = bytes.data() + at;
            float value, scale;
            uint16_t bits;
            if (shape.type == "KvF32") {
                std::memcpy(&value, row + 4 * i, 4);
            } else if (shape.type == "KvQ8") {
                std::memcpy(&scale, row + width + 4 * (i / static_cast<size_t>(shape.size)), 4);
                value = scale * static_cast<float>(static_cast<int8_t>(row[i]));
            } else {
                std::memcpy(&bits, row + 2 * i, 2);
                value = shape.type == "KvF16" ? half_value(bits) : bf16_value(bits);
            }
            values.push_back(value);
        }
    return values;
}

namespace {

// Any sign and mantissa, 1/16 to 1, of a 16-bit float.
uint16_t seeded_bits(int mantissa, int bias, std::mt19937& random) {
    const uint32_t r = random();
    const auto exponent = static_cast<uint32_t>(bias - 1 - static_cast<int>(r >> 30));
    return static_cast<uint16_t>((r & 1) << 15 | exponent << mantissa |
                                 (r >> 4 & ((1u << mantissa) - 1)));
}

}  // namespace

KvRows seeded_kv(const KvShape& shape, int64_t rows, std::mt19937& random) {
    KvRows made;
    const auto row_bytes = static_cast<size_t>(shape.row_bytes()),
               width = static_cast<size_t>(shape.width());
    made.bytes.resize(static_cast<size_t>(rows) * row_bytes);
    for (size_t at = 0; at < made.bytes.size(); at += row_bytes) {
        std::byte* row = made.bytes.data() + at;
        for (size_t i = 0; i < width; ++i) {
            const float value = static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f;
            const uint16_t bits =
                shape.type == "KvF16" ? seeded_bits(10, 15, random) : seeded_bits(7, 127, random);
            // The largest byte of a head is 127, as a kernel would have made it.
            const bool first = i % static_cast<size_t>(shape.size) == 0;
            const auto byte = static_cast<int8_t>(first ? 127 : static_cast<int>(value * 127.0f));
            const float scale = 0.004f + 0.002f * value;
            if (shape.type == "KvF32")
                std::memcpy(row + 4 * i, &value, 4);
            else if (shape.type == "KvQ8")
                row[i] = static_cast<std::byte>(byte);
            else
                std::memcpy(row + 2 * i, &bits, 2);
            if (shape.type == "KvQ8" && first)
                std::memcpy(row + width + 4 * (i / static_cast<size_t>(shape.size)), &scale, 4);
        }
    }
    made.values = kv_values(shape, made.bytes);
    return made;
}

std::vector<float> half_row_values(int64_t cols, std::span<const std::byte> bytes) {
    const auto width = static_cast<size_t>(cols), row_bytes = 2 * width + 16;
    std::vector<float> values;
    for (size_t at = 0; at + row_bytes <= bytes.size(); at += row_bytes) {
        float scale;
        std::memcpy(&scale, bytes.data() + at + 2 * width, sizeof scale);
        for (size_t i = 0; i < width; ++i) {
            uint16_t bits;
            std::memcpy(&bits, bytes.data() + at + 2 * i, 2);
            values.push_back(scale * half_value(bits));
        }
    }
    return values;
}

KvRows seeded_half_rows(int64_t rows, int64_t cols, std::mt19937& random) {
    KvRows made;
    const auto width = static_cast<size_t>(cols), row_bytes = 2 * width + 16;
    made.bytes.resize(static_cast<size_t>(rows) * row_bytes);
    for (size_t at = 0; at < made.bytes.size(); at += row_bytes) {
        const float scale = std::ldexp(1.0f, static_cast<int>(random() % 3) - 1);
        for (size_t i = 0; i < width; ++i) {
            const uint16_t bits = seeded_bits(10, 15, random);
            std::memcpy(made.bytes.data() + at + 2 * i, &bits, 2);
        }
        std::memcpy(made.bytes.data() + at + 2 * width, &scale, sizeof scale);
    }
    made.values = half_row_values(cols, made.bytes);
    return made;
}

}  // namespace hetune
