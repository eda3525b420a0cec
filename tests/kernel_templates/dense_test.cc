// Norms, element by element kernels, embedding, rotary embedding and attention against the oracle.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>

#include "kernel_templates/quant/registry.h"
#include "planner/plan/kv_type.h"
#include "runtime/oracle/primitives.h"
#include "tests/kernel_templates/kernel_run.h"

namespace hetune::testing {
namespace {

constexpr double kTolerance = 1e-5;      // float arithmetic in another order
constexpr double kHalfTolerance = 1e-3;  // a KV cache of 16-bit floats: 11 bits, averaged

std::string text(int64_t v) { return std::to_string(v); }

std::span<const float> row_of(const std::vector<float>& values, int64_t row, int64_t width) {
    return std::span(values).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
}

TEST_CASE("rmsnorm equals the oracle at widths that do not fill the last wave") {
    std::vector<KernelCase> cases;
    for (const int64_t cols : {32, 257, 1000, 4096})
        for (const int waves : {1, 4})
            cases.push_back(
                {.spec = {"rmsnorm",
                          {{"kCols", text(cols)}, {"kEps", "1e-6f"}, {"kWaves", text(waves)}}},
                 .groups = {7},
                 .threads = static_cast<uint32_t>(32 * waves),
                 .rows = 7,
                 .behind = {{"w", {"floats", 1, cols}}},
                 .tolerance = kTolerance});
    check(cases);
}

TEST_CASE("binary kernels equal the oracle and leave rows beyond the step alone") {
    std::vector<KernelCase> cases;
    for (const char* op : {"Add", "SiluMul", "SigmoidMul"})
        cases.push_back({.spec = {"binary", {{"Op", op}, {"kCols", "257"}, {"kWaves", "2"}}},
                         .groups = {groups_of(257, 64), 9},
                         .threads = 64,
                         .rows = 9,
                         .tolerance = kTolerance});
    check(cases);
}

TEST_CASE("quantise keeps values to half a step, and its sums are those of what it kept") {
    constexpr int64_t kCols = 288;
    auto x = random_floats(2 * kCols, 5);
    std::fill(x.begin() + 32, x.begin() + 64, 0.0f);
    KernelRun run({"quantise", {{"kCols", text(kCols)}, {"kWaves", "4"}}});
    run.step(0, 2).in(x).out(x.size() / 32 * 48).launch({groups_of(kCols, 128), 2}, 128);
    const auto blocks = run.get<uint8_t>(2);
    for (size_t b = 0; b < x.size() / 32; ++b) {
        float head[4];
        std::memcpy(head, blocks.data() + b * 48, sizeof head);
        double low = 0, high = 0;
        for (size_t i = 0; i < 32; ++i) {
            const double kept =
                static_cast<double>(head[0]) * static_cast<int8_t>(blocks[b * 48 + 16 + i]);
            CHECK(std::abs(kept - static_cast<double>(x[b * 32 + i])) <=
                  0.5001 * static_cast<double>(head[0]) + 1e-30);
            (i < 16 ? low : high) += kept;
        }
        CHECK(static_cast<double>(head[1]) == doctest::Approx(low + high).epsilon(1e-5));
        CHECK(static_cast<double>(head[2]) == doctest::Approx(low).epsilon(1e-5));
        CHECK(static_cast<double>(head[3]) == doctest::Approx(high).epsilon(1e-5));
    }
}

TEST_CASE("take_row gives the step's last row and a state that counts it") {
    check({{.spec = {"take_row", {{"kCols", "100"}}}, .groups = {4}, .rows = 5}});
}

TEST_CASE("embed gives the rows that the tokens name") {
    check(
        {{.spec = {"embed", {{"Quant", "F32"}, {"kRows", "70"}, {"kCols", "96"}, {"kWaves", "1"}}},
          .groups = {3},
          .rows = 3,
          .behind = {{"w", {"F32", 70, 96}}},
          .tolerance = 0}});
}

TEST_CASE("head_norm_rope equals the oracle at far positions, partly rotated and interleaved") {
    struct Case {
        int64_t size, rotary;
        bool norm, interleaved;
        int position;
    };
    std::vector<KernelCase> cases;
    for (const Case& c : {Case{64, 64, true, false, 0}, Case{80, 80, true, false, 1000},
                          Case{128, 64, false, true, 77}, Case{256, 64, true, false, 200000},
                          Case{128, 0, true, false, 5}})
        cases.push_back({.spec = {"head_norm_rope",
                                  {{"kHeads", "3"},
                                   {"kHeadSize", text(c.size)},
                                   {"kStride", text(3 * c.size)},
                                   {"kNorm", constant(c.norm)},
                                   {"kEps", "1e-6f"},
                                   {"kRotary", text(c.rotary)},
                                   {"kInterleaved", constant(c.interleaved)},
                                   {"kMagnitude", "1.5f"}}},
                         .groups = {3, 2},
                         .rows = 2,
                         .behind = {{"w", {"floats", 1, c.size}},
                                    {"turns", {"turns", 1, std::max<int64_t>(1, c.rotary / 2)}}},
                         .tolerance = 2e-6 * static_cast<double>(1 + c.rotary),
                         .position = c.position});
    check(cases);
}

struct AttentionCase {
    int64_t heads, kv_heads, size, context;
    const char* kv;
    int splits, waves;
};

double kv_tolerance(KvType type) {
    switch (type) {
        case KvType::kF32:
            return kTolerance;
        case KvType::kF16:
            return kHalfTolerance;
        case KvType::kBF16:
            return 8 * kHalfTolerance;
        case KvType::kQ8:
            return 1e-2;  // half a step of 127, in scores and in values
    }
    return 0;
}

std::vector<KernelSpec> attention_specs(const AttentionCase& c) {
    const std::string kv = kv_functor(kv_type(c.kv));
    return {
        {"kv_write",
         {{"Kv", kv},
          {"kKvHeads", text(c.kv_heads)},
          {"kHeadSize", text(c.size)},
          {"kWaves", "2"}}},
        {"attention_split",
         {{"Kv", kv},
          {"kHeads", text(c.heads)},
          {"kKvHeads", text(c.kv_heads)},
          {"kHeadSize", text(c.size)},
          {"kScale", "0.125f"},
          {"kSplits", text(c.splits)},
          {"kWaves", text(c.waves)}}},
        {"attention_merge",
         {{"kHeads", text(c.heads)}, {"kHeadSize", text(c.size)}, {"kSplits", text(c.splits)}}}};
}

TEST_CASE("attention equals the oracle over head sizes, contexts, splits and cache types") {
    std::vector<AttentionCase> list;
    for (const int64_t size : {64, 80, 128, 256})
        for (const int64_t context : {1, 31, 33, 1000})
            list.push_back({4, 2, size, context, "f32", 2, 2});
    list.push_back({8, 1, 128, 1000, "f16", 8, 1});
    list.push_back({4, 4, 64, 100, "bf16", 1, 4});
    for (const int64_t size : {64, 80, 128, 256}) list.push_back({4, 2, size, 500, "q8", 2, 2});
    std::vector<KernelCase> cases;
    for (const AttentionCase& c : list)
        for (const int rows : {1, 5}) {
            const auto specs = attention_specs(c);
            const auto launched = static_cast<uint32_t>(rows);
            cases.push_back({.spec = specs[0],
                             .groups = {groups_of(c.kv_heads, 2), launched},
                             .threads = 64,
                             .rows = rows,
                             .tolerance = kv_tolerance(kv_type(c.kv)),
                             .position = c.context - 1});
            // The cache's values are exact in its type, so that its rounding is no error.
            cases.push_back({.spec = specs[1],
                             .groups = {static_cast<uint32_t>(c.kv_heads),
                                        static_cast<uint32_t>(c.splits), launched},
                             .threads = static_cast<uint32_t>(32 * c.waves),
                             .rows = rows,
                             .tolerance = kTolerance,
                             .position = c.context - 1});
            cases.push_back({.spec = specs[2],
                             .groups = {static_cast<uint32_t>(c.heads), launched},
                             .rows = rows,
                             .tolerance = kTolerance});
        }
    check(cases);
}

TEST_CASE("an 8-bit KV cache keeps each head with a scale of its own, and zeros as zeros") {
    constexpr int64_t kHeads = 3, kSize = 80;
    auto k = random_floats(2 * kHeads * kSize, 31);
    const auto v = random_floats(k.size(), 32);
    for (int64_t i = 0; i < kSize; ++i) {
        k[static_cast<size_t>(kSize + i)] *= 1e-3f;  // a small head beside large ones
        k[static_cast<size_t>(2 * kSize + i)] = 0;
    }
    KernelRun run({"kv_write",
                   {{"Kv", "KvQ8"},
                    {"kKvHeads", text(kHeads)},
                    {"kHeadSize", text(kSize)},
                    {"kWaves", "1"}}});
    const auto row_bytes = static_cast<size_t>(kv_row_bytes(KvType::kQ8, kHeads, kSize));
    run.step(1, 1).in(std::vector<int32_t>{0}).in(k).in(v).out(2 * row_bytes).out(2 * row_bytes);
    run.launch({kHeads, 2}, 32);
    const auto cache = run.get<int8_t>(4);
    for (size_t h = 0; h < kHeads; ++h) {
        CAPTURE(h);
        const int8_t* row = cache.data() + row_bytes;  // position 1
        const int8_t* head = row + h * kSize;
        const auto from = row_of(k, static_cast<int64_t>(h), kSize);
        float scale = 0, peak = 0;
        std::memcpy(&scale, row + kHeads * kSize + h * sizeof scale, sizeof scale);
        for (const float x : from) peak = std::max(peak, std::abs(x));
        CHECK(scale == doctest::Approx(peak / 127));
        for (size_t i = 0; i < kSize; ++i)
            CHECK(std::abs(static_cast<float>(head[i]) * scale - from[i]) <= 0.501f * scale);
    }
}

}  // namespace
}  // namespace hetune::testing
