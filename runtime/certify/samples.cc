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

size_t kv_element_bytes(std::string_view type) { return type == "KvF32" ? 4 : 2; }

std::vector<float> kv_values(std::string_view type, std::span<const std::byte> bytes) {
    std::vector<float> values(bytes.size() / kv_element_bytes(type));
    if (type == "KvF32") {
        std::memcpy(values.data(), bytes.data(), bytes.size());
        return values;
    }
    for (size_t i = 0; i < values.size(); ++i) {
        uint16_t bits;
        std::memcpy(&bits, bytes.data() + 2 * i, 2);
        values[i] = type == "KvF16" ? half_value(bits) : bf16_value(bits);
    }
    return values;
}

KvElements seeded_kv(std::string_view type, size_t count, std::mt19937& random) {
    KvElements made;
    made.bytes.resize(count * kv_element_bytes(type));
    if (type == "KvF32") {
        const std::vector<float> values = seeded_floats(count, random);
        std::memcpy(made.bytes.data(), values.data(), made.bytes.size());
    } else {
        // Any sign and mantissa, 1/16 to 1.
        const int mantissa = type == "KvF16" ? 10 : 7, bias = type == "KvF16" ? 15 : 127;
        for (size_t i = 0; i < count; ++i) {
            const uint32_t r = random();
            const auto exponent = static_cast<uint32_t>(bias - 1 - static_cast<int>(r >> 30));
            const auto bits = static_cast<uint16_t>((r & 1) << 15 | exponent << mantissa |
                                                    (r >> 4 & ((1u << mantissa) - 1)));
            std::memcpy(made.bytes.data() + 2 * i, &bits, 2);
        }
    }
    made.values = kv_values(type, made.bytes);
    return made;
}

}  // namespace hetune
