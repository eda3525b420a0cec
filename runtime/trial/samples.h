// Inputs of trials, made from a seed.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace hetune {

// Made activations repeat after so many rows. A prime: a row too far by a tile, a wave or a power
// of two holds other values.
constexpr int64_t kDistinctRows = 7;

// Values of a delta net's head, and with them the columns of its state, each of which moves on by
// itself, repeat after so many columns. A prime, too.
constexpr int64_t kDistinctColumns = 7;
// Lets each run of `size` values repeat so.
void repeat_columns(std::span<float> values, int64_t size);
// The first values of each run of `size`.
std::vector<float> distinct_columns(std::span<const float> values, int64_t size);

// Seeded values in -1 .. 1.
std::vector<float> seeded_floats(size_t count, std::mt19937& random);

// 8-bit activations as kernels get them (XBlock of kernel_templates/quant/tile.h).
struct HostXBlock {
    float scale = 0, sum = 0, sum_low = 0, sum_high = 0;
    int8_t q[32] = {};
};
static_assert(sizeof(HostXBlock) == 48);

// HostXTile is XTile of kernel_templates/quant/tile.h.
struct HostXTile {
    uint32_t q[8][8] = {};
    float scales[8][2] = {}, halves[8][2] = {};
};
static_assert(sizeof(HostXTile) == 8 * sizeof(HostXBlock));
// token_tiles() makes tiles of rows of blocks, `cols` columns each; the last row repeats.
std::vector<HostXTile> token_tiles(std::span<const HostXBlock> blocks, int64_t cols);

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
// scale, of which kDistinctRows differ, and what one of them stands for.
std::vector<std::byte> seeded_half_rows(int64_t rows, int64_t cols, std::mt19937& random);
std::vector<float> half_row(int64_t cols, std::span<const std::byte> bytes, int64_t row);
// The values of the distinct ones, [kDistinctRows or fewer, cols].
std::vector<float> distinct_half_rows(int64_t cols, std::span<const std::byte> bytes);

}  // namespace hetune
