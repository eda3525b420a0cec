// The kernels of the matrix units against the oracle: half rows, GEMM of every format, experts.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "runtime/oracle/primitives.h"
#include "tests/kernel_templates/kernel_run.h"
#include "tests/kernel_templates/quantised_matrix.h"

namespace hetune::testing {
namespace {

// Against the oracle with the activations that the kernel gets, as halves. Weights that are halves
// in the file are multiplied as they are: what is left is the order of sums.
constexpr double kExactTolerance = 2e-5;
// Other weights are made of a scale and an offset of 11 bits each: half a step of either, 5e-4 of
// the larger one, averaged over K. Measured: at most 6.5e-4 of the largest result, with 256
// columns.
constexpr double kHalfTolerance = 1e-3;
double tolerance_of(const std::string& format) {
    return format == "F16" || format == "BF16" ? kExactTolerance : kHalfTolerance;
}

std::string text(int64_t v) { return std::to_string(v); }

// Rows as the kernels want them, [rows][2 cols + 16 bytes].
KernelSpec half_rows_spec(int64_t cols, bool norm, int waves) {
    return {"half_rows",
            {{"kCols", text(cols)},
             {"kPerRow", "1"},
             {"kNorm", norm ? "true" : "false"},
             {"kEps", "1e-6f"},
             {"kFloats", norm ? "true" : "false"},
             {"kWaves", text(waves)}}};
}
// Rounds `x` to what the rows hold.
std::vector<uint8_t> half_rows(std::vector<float>& x, int64_t cols) {
    const auto rows = static_cast<int64_t>(x.size()) / cols;
    KernelRun run(half_rows_spec(cols, false, 1));
    run.step(0, static_cast<int>(rows)).in(x).in(std::vector<float>(1)).out(4);
    run.out(static_cast<size_t>(rows * (cols * 2 + 16)));
    run.launch({static_cast<uint32_t>(rows)}, 32);
    auto bytes = run.get<uint8_t>(4);
    x = values_of_half_rows(bytes, cols);
    return bytes;
}

TEST_CASE("half_rows keeps eleven bits of values of any size, beside the norm's own floats") {
    constexpr int64_t kCols = 264;
    const double sizes[] = {1, 1e-12, 1e9, 0};
    std::vector<float> x = random_floats(4 * kCols, 5);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= static_cast<float>(sizes[i / kCols]);
    const auto w = random_floats(kCols, 6);
    for (const bool norm : {false, true})
        for (const int waves : {1, 2}) {
            CAPTURE(norm);
            KernelRun run(half_rows_spec(kCols, norm, waves));
            run.step(3, 3).in(x).in(w).out(4 * kCols * 4).out(4 * (kCols * 2 + 16));
            run.launch({4}, static_cast<uint32_t>(32 * waves));
            const auto bytes = run.get<uint8_t>(4);
            const auto floats = run.get<float>(3), kept = values_of_half_rows(bytes, kCols);
            for (size_t row = 0; row < 3; ++row) {
                std::vector<float> wanted(x.begin() + static_cast<int64_t>(row * kCols),
                                          x.begin() + static_cast<int64_t>((row + 1) * kCols));
                if (norm) reference::rmsnorm(std::vector<float>(wanted), w, 1e-6, wanted);
                float peak = 0;
                for (const float v : wanted) peak = std::max(peak, std::abs(v));
                for (size_t c = 0; c < kCols; ++c) {
                    const float got = kept[row * kCols + c];
                    CHECK(std::abs(got - wanted[c]) <= std::abs(wanted[c]) / 2000 + peak * 1e-8f);
                    if (norm) CHECK(std::abs(floats[row * kCols + c] - wanted[c]) <= peak * 1e-5f);
                }
            }
            // Rows beyond the step are left alone.
            CHECK(std::all_of(bytes.end() - (kCols * 2 + 16), bytes.end(),
                              [](uint8_t b) { return b == 0xff; }));
        }
}

struct GemmCase {
    const char* format;
    int64_t rows, cols;
    int tokens;
    bool bias, residual;
    int m, n, waves;

    KernelSpec spec() const {
        return {"gemm",
                {{"Quant", format},
                 {"kRows", text(rows)},
                 {"kCols", text(cols)},
                 {"kBias", bias ? "true" : "false"},
                 {"kResidual", residual ? "true" : "false"},
                 {"kTileM", text(m)},
                 {"kTileN", text(n)},
                 {"kWaves", text(waves)}}};
    }
};

TEST_CASE("gemm equals the oracle for every format, with tails in rows and columns") {
    std::vector<GemmCase> list;
    for (const QuantFormat& format : all_quants())
        list.push_back({format.name, 97, 512, 33, false, true, 32, 128, 4});
    for (const int tokens : {1, 7, 33, 257})
        list.push_back({"Q4_K", 65, 256, tokens, true, false, 64, 64, 2});
    for (const int64_t cols : {1280, 4096})
        list.push_back({"Q4_K", 257, cols, 40, false, false, 64, 128, 4});
    list.push_back({"Q8_0", 160, 96, 130, true, true, 128, 128, 4});
    std::vector<KernelCase> cases;
    for (const GemmCase& c : list)
        cases.push_back(
            {.spec = c.spec(),
             .groups = {groups_of(c.rows, c.n), groups_of(c.tokens, c.m)},
             .threads = static_cast<uint32_t>(32 * c.waves),
             .rows = c.tokens,
             .behind = {{"w", {c.format, c.rows, c.cols}}, {"bias", {"floats", 1, c.rows}}},
             .tolerance = tolerance_of(c.format)});
    check(cases);
}

TEST_CASE("gemm takes activations far beyond the range of halves") {
    const Matrix matrix(*find_quant("Q4_K"), 64, 256, 7);
    auto x = random_floats(2 * 256, 11);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= i < 256 ? 1e8f : 1e-9f;
    const auto halves = half_rows(x, 256);
    std::vector<float> wanted(2 * 64);
    reference::linear(matrix.tensor, 0, 64, x, wanted);
    KernelRun run(GemmCase{"Q4_K", 64, 256, 2, false, false, 32, 128, 4}.spec());
    run.step(0, 2).in(matrix.tiles()).in(halves).out(4).out(4).out(wanted.size() * 4);
    run.launch({1, 1}, 128);
    const auto got = run.get<float>(5);
    for (const size_t row : {size_t{0}, size_t{64}})
        CHECK(relative_error(std::span(got).subspan(row, 64), std::span(wanted).subspan(row, 64)) <
              kHalfTolerance);
}

TEST_CASE("gemm_swiglu equals the oracle with tails in rows and columns") {
    std::vector<KernelCase> cases;
    for (const char* format : {"Q4_K", "Q8_0", "F16"})
        cases.push_back({.spec = {"gemm_swiglu",
                                  {{"Quant", format},
                                   {"kRows", "96"},
                                   {"kCols", "512"},
                                   {"kTileM", "64"},
                                   {"kTileN", "64"},
                                   {"kWaves", "4"}}},
                         .groups = {2, 2},
                         .threads = 128,
                         .rows = 70,
                         .behind = {{"gate", {format, 96, 512}}, {"up", {format, 96, 512}}},
                         .tolerance = tolerance_of(format)});
    check(cases);
}

TEST_CASE("experts on the matrix units equal the oracle, whether they get many slots or none") {
    constexpr int64_t kExperts = 5, kUsed = 2, kInner = 96, kHidden = 256, kTileM = 32;
    std::vector<KernelCase> cases;
    for (const int rows : {70, 2}) {
        const int64_t slots = rows * kUsed;
        const auto chunks = static_cast<uint32_t>(slots / kTileM + kExperts);
        cases.push_back({.spec = {"experts_gate_up_gemm",
                                  {{"Quant", "Q4_K"},
                                   {"kUsed", text(kUsed)},
                                   {"kRows", text(kInner)},
                                   {"kCols", text(kHidden)},
                                   {"kTileM", text(kTileM)},
                                   {"kTileN", "64"},
                                   {"kWaves", "4"}}},
                         .groups = {groups_of(kInner, 64), chunks},
                         .threads = 128,
                         .rows = rows,
                         .behind = {{"gate", {"Q4_K", kExperts * kInner, kHidden}},
                                    {"up", {"Q4_K", kExperts * kInner, kHidden}}},
                         .tolerance = kHalfTolerance});
        cases.push_back({.spec = {"experts_down_gemm",
                                  {{"Quant", "Q8_0"},
                                   {"kRows", text(kHidden)},
                                   {"kCols", text(kInner)},
                                   {"kTileM", text(kTileM)},
                                   {"kTileN", "128"},
                                   {"kWaves", "4"}}},
                         .groups = {groups_of(kHidden, 128), chunks},
                         .threads = 128,
                         .rows = rows,
                         .behind = {{"w", {"Q8_0", kExperts * kHidden, kInner}},
                                    {"x", {"bytes", 1, slots * (2 * kInner + 16)}}},
                         .tolerance = kHalfTolerance});
    }
    check(cases);
}

constexpr double kFlashTolerance = 2e-3;  // queries, keys, weights and values are halves

struct FlashCase {
    int64_t heads, kv_heads, size, position;
    int rows;
    const char* kv;

    int waves() const { return size > 128 ? 2 : 4; }
    int tokens() const { return 16 * waves() / static_cast<int>(heads / kv_heads); }  // of a group
    KernelSpec spec() const {
        return {"attention_flash",
                {{"Kv", kv},
                 {"kHeads", text(heads)},
                 {"kKvHeads", text(kv_heads)},
                 {"kHeadSize", text(size)},
                 {"kScale", "0.125f"},
                 {"kKeys", size > 128 ? "32" : "64"},
                 {"kWaves", text(waves())}}};
    }
};

void check_flash(const std::vector<FlashCase>& list) {
    std::vector<KernelCase> cases;
    for (const FlashCase& c : list)
        cases.push_back(
            {.spec = c.spec(),
             .groups = {static_cast<uint32_t>(c.kv_heads), groups_of(c.rows, c.tokens())},
             .threads = static_cast<uint32_t>(32 * c.waves()),
             .rows = c.rows,
             .tolerance = kFlashTolerance,
             .position = c.position,
             .rows_per_group = c.tokens()});
    check(cases);
}

TEST_CASE("attention_flash equals the oracle over head sizes, groups of heads, and positions") {
    std::vector<FlashCase> list;
    for (const int64_t size : {64, 80, 128, 256})
        for (const int64_t position : {0, 30, 32, 999})
            list.push_back({4, 2, size, position, 33, "KvF32"});
    list.push_back({6, 1, 64, 5, 70, "KvBF16"});  // six heads do not divide the rows of a group
    list.push_back({8, 1, 256, 40, 7, "KvF32"});
    list.push_back({4, 2, 80, 40, 33, "KvQ8"});
    list.push_back({2, 2, 128, 0, 1, "KvF32"});
    check_flash(list);
}

TEST_CASE("attention_flash of a few rows behind a short context equals the oracle") {
    check_flash({{4, 2, 64, 50, 20, "KvF32"}, {4, 2, 256, 3, 5, "KvF32"}});
}

}  // namespace
}  // namespace hetune::testing
