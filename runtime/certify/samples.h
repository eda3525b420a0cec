// Seeded inputs of trials, and which of many results are looked at.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace hetune {

// Of 0 .. count - 1: all where there are few, else 64 or more with the first, the last 32 (a tile
// that need not be full) and every class mod 16, spread over the range.
std::vector<int64_t> sample_of(int64_t count);
// The same for tiles of 32 rows, whose rows are all looked at: first, last, and two between.
std::vector<int64_t> sample_of_tiles(int64_t count);
// Of a step's rows: first, last, and one that differs from `turn` to turn.
std::vector<int64_t> sample_of_tokens(int64_t rows, int64_t turn);

// Seeded values in -1 .. 1.
std::vector<float> seeded_floats(size_t count, std::mt19937& random);

// 8-bit activations as kernels get them (XBlock of kernel_templates/quant/tile.h).
struct HostXBlock {
    float scale = 0, sum = 0, sum_low = 0, sum_high = 0;
    int8_t q[32] = {};
};
static_assert(sizeof(HostXBlock) == 48);

// `values` become what the blocks hold.
std::vector<HostXBlock> quantise(std::span<float> values);

// Rows of a KV cache ("KvF16", "KvBF16", "KvF32", "KvQ8"; kernel_templates/attention/kv_type.h) and
// the exact values that they stand for, [rows][heads][size].
struct KvShape {
    std::string type;
    int64_t heads, size;

    int64_t width() const { return heads * size; }
    int64_t row_bytes() const;
};
std::vector<std::byte> seeded_kv(const KvShape& shape, int64_t rows, std::mt19937& random);
std::vector<float> kv_values(const KvShape& shape, std::span<const std::byte> bytes);
// The same of one head, [rows][size].
std::vector<float> kv_head(const KvShape& shape, std::span<const std::byte> bytes, int64_t head);

// Activations for matrix units (kernel_templates/elementwise/half_row.h): rows of halves and a
// scale, and what one of them stands for.
std::vector<std::byte> seeded_half_rows(int64_t rows, int64_t cols, std::mt19937& random);
std::vector<float> half_row(int64_t cols, std::span<const std::byte> bytes, int64_t row);

}  // namespace hetune
