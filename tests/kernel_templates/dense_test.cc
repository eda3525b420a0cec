// Norms, element by element kernels, embedding, rotary embedding and attention against the oracle.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "kernel_templates/quant/registry.h"
#include "planner/plan/kv_type.h"
#include "runtime/oracle/primitives.h"
#include "tests/kernel_templates/kernel_run.h"

namespace hetune::testing {
namespace {

constexpr double kTolerance = 1e-5;      // float arithmetic in another order
constexpr double kHalfTolerance = 1e-3;  // a KV cache of 16-bit floats: 11 bits, averaged

std::string text(int64_t v) { return std::to_string(v); }
uint32_t groups_of(int64_t count, int64_t size) {
    return static_cast<uint32_t>((count + size - 1) / size);
}

std::span<const float> row_of(const std::vector<float>& values, int64_t row, int64_t width) {
    return std::span(values).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
}

TEST_CASE("rmsnorm equals the oracle at widths that do not fill the last wave") {
    constexpr int kRows = 7;
    for (const int64_t cols : {32, 257, 1000, 4096})
        for (const int waves : {1, 4}) {
            CAPTURE(cols);
            CAPTURE(waves);
            const auto x = random_floats(static_cast<size_t>(kRows * cols), 1);
            const auto w = random_floats(static_cast<size_t>(cols), 2);
            std::vector<float> wanted(x.size());
            for (int r = 0; r < kRows; ++r)
                reference::rmsnorm(row_of(x, r, cols), w, 1e-6,
                                   std::span(wanted).subspan(static_cast<size_t>(r * cols),
                                                             static_cast<size_t>(cols)));
            KernelRun run(
                {"rmsnorm", {{"kCols", text(cols)}, {"kEps", "1e-6f"}, {"kWaves", text(waves)}}});
            run.step(3, kRows)
                .in(x)
                .in(w)
                .out(x.size() * 4)
                .launch({kRows}, static_cast<uint32_t>(32 * waves));
            CHECK(relative_error(run.get<float>(3), wanted) < kTolerance);
        }
}

TEST_CASE("binary kernels equal the oracle and leave rows beyond the step alone") {
    constexpr int kRows = 3;
    constexpr int64_t kCols = 257;
    const auto a = random_floats(kRows * kCols, 1);
    const auto b = random_floats(kRows * kCols, 2);
    const std::pair<const char*, double (*)(double, double)> kOps[] = {
        {"Add", [](double x, double y) { return x + y; }},
        {"SiluMul", [](double x, double y) { return reference::silu(x) * y; }},
        {"SigmoidMul", [](double x, double y) { return x * reference::sigmoid(y); }}};
    for (const auto& [name, op] : kOps) {
        CAPTURE(name);
        std::vector<float> wanted(2 * kCols);
        for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = static_cast<float>(op(a[i], b[i]));
        KernelRun run({"binary", {{"Op", name}, {"kCols", text(kCols)}, {"kWaves", "2"}}});
        run.step(0, 2).in(a).in(b).out(a.size() * 4).launch({groups_of(kCols, 64), kRows}, 64);
        const auto got = run.get<float>(3);
        CHECK(relative_error(std::span(got).first(wanted.size()), wanted) < kTolerance);
        for (size_t i = wanted.size(); i < got.size(); ++i) CHECK(std::isnan(got[i]));
    }
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
    const auto x = random_floats(5 * 100, 5);
    KernelRun run({"take_row", {{"kCols", "100"}}});
    run.step(10, 4).in(x).out(400).out(8).launch({4}, 32);
    const auto row = row_of(x, 3, 100);
    CHECK(run.get<float>(2) == std::vector<float>(row.begin(), row.end()));
    CHECK(run.get<int32_t>(3) == std::vector<int32_t>{13, 1});
}

TEST_CASE("embed gives the rows that the tokens name") {
    constexpr int64_t kRows = 70, kCols = 96;
    const auto table = random_floats(kRows * kCols, 5);
    const QuantFormat& format = *find_quant("F32");
    std::vector<uint8_t> tiles(static_cast<size_t>(tiles_bytes(format, kRows, kCols)));
    pack_tiles(format, kRows, kCols, reinterpret_cast<const uint8_t*>(table.data()), tiles.data(),
               0, 3);
    KernelRun run(
        {"embed",
         {{"Quant", "F32"}, {"kRows", text(kRows)}, {"kCols", text(kCols)}, {"kWaves", "1"}}});
    run.step(0, 3).in(tiles).in(std::vector<int32_t>{0, 69, 33}).out(3 * kCols * 4).launch({3}, 32);
    std::vector<float> wanted;
    for (const int64_t token : {0, 69, 33}) {
        const auto row = row_of(table, token, kCols);
        wanted.insert(wanted.end(), row.begin(), row.end());
    }
    CHECK(run.get<float>(3) == wanted);
}

TEST_CASE("head_norm_rope equals the oracle at far positions, partly rotated and interleaved") {
    struct Case {
        int64_t size, rotary;
        bool norm, interleaved;
        int position;
    };
    constexpr int64_t kHeads = 3, kRows = 2;
    for (const Case& c : {Case{64, 64, true, false, 0}, Case{80, 80, true, false, 1000},
                          Case{128, 64, false, true, 77}, Case{256, 64, true, false, 200000},
                          Case{128, 0, true, false, 5}}) {
        CAPTURE(c.size);
        CAPTURE(c.position);
        const auto x = random_floats(static_cast<size_t>(kRows * kHeads * c.size), 3);
        const auto w = random_floats(static_cast<size_t>(c.size), 4);
        std::vector<double> turns;
        std::vector<float> table;
        for (int64_t i = 0; i < c.rotary / 2; ++i) {
            turns.push_back(
                std::pow(1e6, -2.0 * static_cast<double>(i) / static_cast<double>(c.rotary)) /
                (2 * std::numbers::pi));
            table.push_back(static_cast<float>(turns.back()));
            table.push_back(static_cast<float>(turns.back() - static_cast<double>(table.back())));
        }
        table.resize(std::max<size_t>(2, table.size()));
        std::vector<float> wanted = x;
        for (int64_t i = 0; i < kRows * kHeads; ++i) {
            const auto head = std::span(wanted).subspan(static_cast<size_t>(i * c.size),
                                                        static_cast<size_t>(c.size));
            if (c.norm) reference::rmsnorm(row_of(x, i, c.size), w, 1e-6, head);
            reference::rope(head, head.size(), turns, 1.5, c.position + i / kHeads, c.interleaved);
        }
        KernelRun run({"head_norm_rope",
                       {{"kHeads", text(kHeads)},
                        {"kHeadSize", text(c.size)},
                        {"kStride", text(kHeads * c.size)},
                        {"kNorm", c.norm ? "true" : "false"},
                        {"kEps", "1e-6f"},
                        {"kRotary", text(c.rotary)},
                        {"kInterleaved", c.interleaved ? "true" : "false"},
                        {"kMagnitude", "1.5f"}}});
        run.step(c.position, kRows)
            .in(x)
            .in(w)
            .in(table)
            .out(x.size() * 4)
            .launch({kHeads, kRows}, 32);
        CHECK(relative_error(run.get<float>(4), wanted) < 2e-6 * (1 + c.rotary));
    }
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

void check_attention(const AttentionCase& c, int64_t rows) {
    const auto specs = attention_specs(c);
    const int64_t kv_width = c.kv_heads * c.size;
    const auto total = static_cast<size_t>(c.context + rows - 1);
    const auto k = random_floats(total * static_cast<size_t>(kv_width), 21);
    const auto v = random_floats(total * static_cast<size_t>(kv_width), 22);
    const auto q = random_floats(static_cast<size_t>(rows * c.heads * c.size), 23);
    const size_t cache_bytes =
        total * static_cast<size_t>(kv_row_bytes(kv_type(c.kv), c.kv_heads, c.size));

    KernelRun write(specs[0]);
    write.step(0, static_cast<int>(total)).in(k).in(v);
    write.out(cache_bytes).out(cache_bytes);
    write.launch({groups_of(c.kv_heads, 2), static_cast<uint32_t>(total)}, 64);
    const int position = static_cast<int>(c.context) - 1;
    const auto share_bytes = static_cast<size_t>(rows * c.heads * c.splits * (c.size + 2)) * 4;
    KernelRun split(specs[1]);
    split.step(position, static_cast<int>(rows))
        .in(q)
        .in(write.get<uint8_t>(3))
        .in(write.get<uint8_t>(4))
        .out(share_bytes);
    split.launch({static_cast<uint32_t>(c.kv_heads), static_cast<uint32_t>(c.splits),
                  static_cast<uint32_t>(rows)},
                 static_cast<uint32_t>(32 * c.waves));
    KernelRun merge(specs[2]);
    merge.step(position, static_cast<int>(rows)).in(split.get<float>(4)).out(q.size() * 4);
    merge.launch({static_cast<uint32_t>(c.heads), static_cast<uint32_t>(rows)}, 32);

    std::vector<float> wanted(q.size());
    for (int64_t i = 0; i < rows * c.heads; ++i) {
        const int64_t kv_head = i % c.heads / (c.heads / c.kv_heads);
        reference::attend(row_of(q, i, c.size), k.data() + kv_head * c.size,
                          v.data() + kv_head * c.size, kv_width, position + i / c.heads + 1, 0.125,
                          std::span(wanted).subspan(static_cast<size_t>(i * c.size),
                                                    static_cast<size_t>(c.size)));
    }
    CHECK(relative_error(merge.get<float>(2), wanted) < kv_tolerance(kv_type(c.kv)));
}

TEST_CASE("attention equals the oracle over head sizes, contexts, splits and cache types") {
    std::vector<AttentionCase> list;
    for (const int64_t size : {64, 80, 128, 256})
        for (const int64_t context : {1, 31, 33, 1000})
            list.push_back({4, 2, size, context, "f32", 2, 2});
    list.push_back({8, 1, 128, 1000, "f16", 8, 1});
    list.push_back({4, 4, 64, 100, "bf16", 1, 4});
    for (const int64_t size : {64, 80, 128, 256}) list.push_back({4, 2, size, 500, "q8", 2, 2});
    std::vector<KernelSpec> specs;
    for (const auto& c : list)
        for (auto& spec : attention_specs(c)) specs.push_back(std::move(spec));
    compile_all(specs);
    for (const auto& c : list) {
        CAPTURE(c.size);
        CAPTURE(c.context);
        CAPTURE(c.kv);
        check_attention(c, 1);
        check_attention(c, 5);
    }
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
    run.step(1, 1).in(k).in(v).out(2 * row_bytes).out(2 * row_bytes);
    run.launch({kHeads, 2}, 32);
    const auto cache = run.get<int8_t>(3);
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
