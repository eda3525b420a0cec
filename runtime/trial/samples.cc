#include "runtime/trial/samples.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace hetune {

void repeat_columns(std::span<float> values, int64_t size) {
    constexpr auto kDistinct = static_cast<size_t>(kDistinctColumns);
    for (size_t at = 0; at < values.size(); ++at)
        if (at % static_cast<size_t>(size) >= kDistinct) values[at] = values[at - kDistinct];
}

std::vector<float> distinct_columns(std::span<const float> values, int64_t size) {
    std::vector<float> distinct;
    for (size_t at = 0; at < values.size(); ++at)
        if (at % static_cast<size_t>(size) < static_cast<size_t>(kDistinctColumns))
            distinct.push_back(values[at]);
    return distinct;
}

namespace {

// Bits that follow from a seed and a place, without a state from one to the next, so that many are
// made at once: the finalizer of MurmurHash3 (Austin Appleby, public domain) on a Weyl sequence.
class SeededBits {
  public:
    explicit SeededBits(std::mt19937& random) : seed_(random()) {}
    uint32_t operator[](size_t place) const {
        uint32_t x = seed_ + static_cast<uint32_t>(place) * 0x9e3779b9u;
        x = (x ^ x >> 16) * 0x85ebca6bu;
        x = (x ^ x >> 13) * 0xc2b2ae35u;
        return x ^ x >> 16;
    }
    float number(size_t place) const {
        return static_cast<float>(static_cast<int32_t>((*this)[place])) * 0x1p-31f;
    }

  private:
    uint32_t seed_;
};

}  // namespace

std::vector<float> seeded_floats(size_t count, std::mt19937& random) {
    const SeededBits bits(random);
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = bits.number(i);
    return values;
}

std::vector<HostXTile> token_tiles(std::span<const HostXBlock> blocks, int64_t cols) {
    const int64_t width = cols / 32, rows = std::ssize(blocks) / width;
    std::vector<HostXTile> tiles(static_cast<size_t>((rows + 7) / 8 * width));
    for (size_t at = 0; at < tiles.size(); ++at)
        for (int64_t token = 0; token < 8; ++token) {
            const int64_t row = std::min(static_cast<int64_t>(at) / width * 8 + token, rows - 1);
            const HostXBlock& from =
                blocks[static_cast<size_t>(row * width + static_cast<int64_t>(at) % width)];
            HostXTile& to = tiles[at];
            uint32_t words[8];
            std::memcpy(words, from.q, sizeof words);
            for (int word = 0; word < 8; ++word)
                to.q[token][2 * (word % 4) + word / 4] = words[word];
            to.scales[token][0] = from.scale;
            to.scales[token][1] = from.sum;
            to.halves[token][0] = from.sum_low;
            to.halves[token][1] = from.sum_high;
        }
    return tiles;
}

std::vector<HostXBlock> quantise(std::span<float> values) {
    std::vector<HostXBlock> blocks(values.size() / 32);
    for (size_t b = 0; b < blocks.size(); ++b) {
        const std::span<float> from = values.subspan(b * 32, 32);
        float peak = 0;
        for (const float v : from) peak = std::max(peak, std::abs(v));
        HostXBlock& block = blocks[b];
        block.scale = peak / 127.0f;
        const float inverse = peak > 0 ? 127.0f / peak : 0.0f;
        int sums[2] = {};
        for (size_t i = 0; i < 32; ++i) {
            // To the nearest: the sum leaves no bits for a fraction.
            constexpr float kWhole = 0x1.8p23f;
            const float whole = (from[i] * inverse + kWhole) - kWhole;
            block.q[i] = static_cast<int8_t>(whole);
            from[i] = block.scale * whole;
            sums[i / 16] += block.q[i];
        }
        block.sum = block.scale * static_cast<float>(sums[0] + sums[1]);
        block.sum_low = block.scale * static_cast<float>(sums[0]);
        block.sum_high = block.scale * static_cast<float>(sums[1]);
    }
    return blocks;
}

namespace {

// The bits of a half, moved to where a float has them, are a number that is 2^112 times too small.
// What is not finite becomes a NaN: no kernel may store it. Without branches, for vector code.
float half_value(uint16_t bits) {
    const uint32_t size = static_cast<uint32_t>(bits & 0x7fff) << 13;
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
    const uint32_t nan = size >= 31u << 23 ? 0x7fc00000u : 0u;
    return std::bit_cast<float>(
        std::bit_cast<uint32_t>(std::bit_cast<float>(size | sign) * 0x1p112f) | nan);
}

float bf16_value(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

}  // namespace

int64_t KvShape::row_bytes() const {
    if (type == "KvQ8") return width() + (4 * heads + 15) / 16 * 16;
    return width() * (type == "KvF32" ? 4 : 2);
}

namespace {

// `count` values of a row from the first of `head` on.
void row_values(const KvShape& shape, const std::byte* row, int64_t head, std::span<float> to) {
    const auto first = static_cast<size_t>(head * shape.size),
               size = static_cast<size_t>(shape.size);
    const auto* words = reinterpret_cast<const uint16_t*>(row) + first;
    if (shape.type == "KvF32") {
        std::memcpy(to.data(), row + 4 * first, to.size_bytes());
    } else if (shape.type == "KvQ8") {
        const auto* scales = reinterpret_cast<const float*>(row + shape.width());
        for (size_t i = 0; i < to.size(); ++i)
            to[i] = scales[(first + i) / size] *
                    static_cast<float>(static_cast<int8_t>(row[first + i]));
    } else if (shape.type == "KvF16") {
        for (size_t i = 0; i < to.size(); ++i) to[i] = half_value(words[i]);
    } else {
        for (size_t i = 0; i < to.size(); ++i) to[i] = bf16_value(words[i]);
    }
}

std::vector<float> head_values(const KvShape& shape, std::span<const std::byte> bytes, int64_t head,
                               int64_t width) {
    const auto row_bytes = static_cast<size_t>(shape.row_bytes());
    std::vector<float> values(bytes.size() / row_bytes * static_cast<size_t>(width));
    const std::span<float> all(values);
    for (size_t at = 0, to = 0; at < bytes.size();
         at += row_bytes, to += static_cast<size_t>(width))
        row_values(shape, bytes.data() + at, head, all.subspan(to, static_cast<size_t>(width)));
    return values;
}

}  // namespace

std::vector<float> kv_values(const KvShape& shape, std::span<const std::byte> bytes) {
    return head_values(shape, bytes, 0, shape.width());
}
std::vector<float> kv_head(const KvShape& shape, std::span<const std::byte> bytes, int64_t head) {
    return head_values(shape, bytes, head, shape.size);
}

namespace {

// Any sign and mantissa, 1/16 to 1, of a 16-bit float.
uint16_t seeded_bits(int mantissa, int bias, uint32_t random) {
    const auto exponent = static_cast<uint32_t>(bias - 1 - static_cast<int>(random >> 30));
    return static_cast<uint16_t>((random & 1) << 15 | exponent << mantissa |
                                 (random >> 4 & ((1u << mantissa) - 1)));
}

}  // namespace

std::vector<std::byte> seeded_kv(const KvShape& shape, int64_t rows, std::mt19937& random) {
    const SeededBits bits(random);
    const auto row_bytes = static_cast<size_t>(shape.row_bytes()),
               width = static_cast<size_t>(shape.width()), size = static_cast<size_t>(shape.size);
    std::vector<std::byte> made(static_cast<size_t>(rows) * row_bytes);
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
        std::byte* row = made.data() + r * row_bytes;
        const size_t first = r * width;
        if (shape.type == "KvF32") {
            auto* to = reinterpret_cast<float*>(row);
            for (size_t i = 0; i < width; ++i) to[i] = bits.number(first + i);
        } else if (shape.type == "KvQ8") {
            // The largest byte of a head is 127, as a kernel would have made it.
            for (size_t i = 0; i < width; ++i)
                row[i] =
                    static_cast<std::byte>(static_cast<int8_t>(bits.number(first + i) * 127.0f));
            auto* scales = reinterpret_cast<float*>(row + width);
            for (size_t i = 0; i < width; i += size) {
                row[i] = std::byte{127};
                scales[i / size] = 0.004f + 0.002f * bits.number(first + i);
            }
        } else {
            const int mantissa = shape.type == "KvF16" ? 10 : 7, bias = mantissa == 10 ? 15 : 127;
            auto* to = reinterpret_cast<uint16_t*>(row);
            for (size_t i = 0; i < width; ++i) to[i] = seeded_bits(mantissa, bias, bits[first + i]);
        }
    }
    return made;
}

std::vector<float> half_row(int64_t cols, std::span<const std::byte> bytes, int64_t row) {
    const auto width = static_cast<size_t>(cols), row_bytes = 2 * width + 16;
    const std::byte* from = bytes.data() + static_cast<size_t>(row) * row_bytes;
    const auto* words = reinterpret_cast<const uint16_t*>(from);
    const float scale = *reinterpret_cast<const float*>(from + 2 * width);
    std::vector<float> values(width);
    for (size_t i = 0; i < width; ++i) values[i] = scale * half_value(words[i]);
    return values;
}

std::vector<float> distinct_half_rows(int64_t cols, std::span<const std::byte> bytes) {
    const int64_t rows = static_cast<int64_t>(bytes.size()) / (2 * cols + 16);
    std::vector<float> values;
    for (int64_t row = 0; row < std::min(rows, kDistinctRows); ++row) {
        const std::vector<float> one = half_row(cols, bytes, row);
        values.insert(values.end(), one.begin(), one.end());
    }
    return values;
}

std::vector<std::byte> seeded_half_rows(int64_t rows, int64_t cols, std::mt19937& random) {
    constexpr auto kDistinct = static_cast<size_t>(kDistinctRows);
    const SeededBits bits(random);
    const auto width = static_cast<size_t>(cols), row_bytes = 2 * width + 16;
    std::vector<std::byte> made(static_cast<size_t>(rows) * row_bytes);
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
        std::byte* row = made.data() + r * row_bytes;
        auto* words = reinterpret_cast<uint16_t*>(row);
        for (size_t i = 0; i < width; ++i)
            words[i] = seeded_bits(10, 15, bits[r % kDistinct * width + i]);
        const float scale = std::ldexp(1.0f, static_cast<int>(r % kDistinct % 3) - 1);
        std::memcpy(row + 2 * width, &scale, sizeof scale);
    }
    return made;
}

}  // namespace hetune
