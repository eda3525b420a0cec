// The kernels of the matrix units against the oracle: half rows, GEMM of every format, experts.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "planner/plan/kv_type.h"
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
uint32_t groups_of(int64_t count, int64_t size) {
    return static_cast<uint32_t>((count + size - 1) / size);
}

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
            const auto floats = run.get<float>(3);
            for (size_t row = 0; row < 3; ++row) {
                const uint8_t* from = bytes.data() + row * (kCols * 2 + 16);
                float scale;
                std::memcpy(&scale, from + kCols * 2, 4);
                std::vector<float> wanted(x.begin() + static_cast<int64_t>(row * kCols),
                                          x.begin() + static_cast<int64_t>((row + 1) * kCols));
                if (norm) reference::rmsnorm(std::vector<float>(wanted), w, 1e-6, wanted);
                float peak = 0;
                for (const float v : wanted) peak = std::max(peak, std::abs(v));
                for (size_t c = 0; c < kCols; ++c) {
                    uint16_t half;
                    std::memcpy(&half, from + 2 * c, 2);
                    const float got = half_value(half) * scale;
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

void check_gemm(const GemmCase& c) {
    CAPTURE(c.spec().to_string());
    CAPTURE(c.tokens);
    const Matrix matrix(*find_quant(c.format), c.rows, c.cols, 7);
    auto x = random_floats(static_cast<size_t>(c.tokens * c.cols), 11);
    const auto halves = half_rows(x, c.cols);
    const auto bias = random_floats(static_cast<size_t>(c.rows), 13);
    std::vector<float> wanted(static_cast<size_t>(c.tokens * c.rows));
    reference::linear(matrix.tensor, 0, c.rows, x, wanted);
    const auto residual = random_floats(wanted.size(), 17);
    for (size_t i = 0; i < wanted.size(); ++i)
        wanted[i] +=
            (c.bias ? bias[i % static_cast<size_t>(c.rows)] : 0) + (c.residual ? residual[i] : 0);
    KernelRun run(c.spec());
    run.step(5, c.tokens).in(matrix.tiles()).in(halves).in(bias).in(residual);
    run.out(wanted.size() * 4);
    run.launch({groups_of(c.rows, c.n), groups_of(c.tokens, c.m)},
               static_cast<uint32_t>(32 * c.waves));
    CHECK(relative_error(run.get<float>(5), wanted) < tolerance_of(c.format));
}

TEST_CASE("gemm equals the oracle for every format, with tails in rows and columns") {
    std::vector<GemmCase> cases;
    for (const QuantFormat& format : all_quants())
        cases.push_back({format.name, 97, 512, 33, false, true, 32, 128, 4});
    for (const int tokens : {1, 7, 33, 257})
        cases.push_back({"Q4_K", 65, 256, tokens, true, false, 64, 64, 2});
    for (const int64_t cols : {1280, 4096})
        cases.push_back({"Q4_K", 257, cols, 40, false, false, 64, 128, 4});
    cases.push_back({"Q8_0", 160, 96, 130, true, true, 128, 128, 4});
    std::vector<KernelSpec> specs;
    for (const GemmCase& c : cases) specs.push_back(c.spec());
    compile_all(specs);
    for (const GemmCase& c : cases) check_gemm(c);
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

std::vector<float> swiglu(const Matrix& gate, const Matrix& up, int64_t first, int64_t inner,
                          const std::vector<float>& x) {
    const size_t rows = x.size() / static_cast<size_t>(gate.cols);
    std::vector<float> g(rows * static_cast<size_t>(inner)), u(g.size());
    reference::linear(gate.tensor, first, inner, x, g);
    reference::linear(up.tensor, first, inner, x, u);
    for (size_t i = 0; i < g.size(); ++i)
        g[i] = static_cast<float>(reference::silu(static_cast<double>(g[i])) *
                                  static_cast<double>(u[i]));
    return g;
}

TEST_CASE("gemm_swiglu equals the oracle with tails in rows and columns") {
    constexpr int64_t kRows = 96, kCols = 512;
    constexpr int kTokens = 70;
    for (const char* format : {"Q4_K", "Q8_0", "F16"}) {
        CAPTURE(format);
        const Matrix gate(*find_quant(format), kRows, kCols, 7),
            up(*find_quant(format), kRows, kCols, 8);
        auto x = random_floats(kTokens * kCols, 11);
        for (float& v : x) v *= 0.05f;
        const auto halves = half_rows(x, kCols);
        const auto wanted = swiglu(gate, up, 0, kRows, x);
        KernelRun run({"gemm_swiglu",
                       {{"Quant", format},
                        {"kRows", text(kRows)},
                        {"kCols", text(kCols)},
                        {"kTileM", "64"},
                        {"kTileN", "64"},
                        {"kWaves", "4"}}});
        run.step(0, kTokens).in(gate.tiles()).in(up.tiles()).in(halves).out(wanted.size() * 4);
        run.launch({2, 2}, 128);
        CHECK(relative_error(run.get<float>(4), wanted) < tolerance_of(format));
    }
}

TEST_CASE("experts on the matrix units equal the oracle, whether they get many slots or none") {
    constexpr int64_t kExperts = 5, kUsed = 2, kInner = 96, kHidden = 256, kRows = 70, kTileM = 32;
    constexpr int64_t kSlots = kRows * kUsed, kChunks = kSlots / kTileM + kExperts;
    const Matrix gate(*find_quant("Q4_K"), kExperts * kInner, kHidden, 1);
    const Matrix up(*find_quant("Q4_K"), kExperts * kInner, kHidden, 2);
    const Matrix down(*find_quant("Q8_0"), kExperts * kHidden, kInner, 3);
    auto x = random_floats(kRows * kHidden, 11);
    for (float& v : x) v *= 0.1f;
    const auto halves = half_rows(x, kHidden);
    std::vector<int> ids;  // expert 3 gets nothing, expert 0 the first slot of each row
    for (int row = 0; row < kRows; ++row)
        ids.insert(ids.end(), {0, row % 3 == 0 ? 4 : 1 + row % 2});

    KernelRun groups({"expert_groups",
                      {{"kExperts", text(kExperts)},
                       {"kUsed", text(kUsed)},
                       {"kTokens", text(kTileM)},
                       {"kChunks", text(kChunks)},
                       {"kWaves", "1"}}});
    groups.step(0, kRows).in(ids).out(ids.size() * 4).out(kChunks * 12).launch({1}, 32);
    const auto order = groups.get<int>(2), chunks = groups.get<int>(3);
    KernelRun gate_up({"experts_gate_up_gemm",
                       {{"Quant", "Q4_K"},
                        {"kUsed", text(kUsed)},
                        {"kRows", text(kInner)},
                        {"kCols", text(kHidden)},
                        {"kTileM", text(kTileM)},
                        {"kTileN", "64"},
                        {"kWaves", "4"}}});
    gate_up.in(order).in(chunks).in(gate.tiles()).in(up.tiles()).in(halves);
    gate_up.out(kSlots * kInner * 4).launch({groups_of(kInner, 64), kChunks}, 128);
    const auto act = gate_up.get<float>(5);
    auto rounded = act;
    const auto act_halves = half_rows(rounded, kInner);
    KernelRun product({"experts_down_gemm",
                       {{"Quant", "Q8_0"},
                        {"kRows", text(kHidden)},
                        {"kCols", text(kInner)},
                        {"kTileM", text(kTileM)},
                        {"kTileN", "128"},
                        {"kWaves", "4"}}});
    product.in(order).in(chunks).in(down.tiles()).in(act_halves);
    product.out(kSlots * kHidden * 4).launch({groups_of(kHidden, 128), kChunks}, 128);

    std::vector<float> wanted_act, wanted;
    for (size_t slot = 0; slot < kSlots; ++slot) {
        const auto row = x.begin() + static_cast<int64_t>(slot / kUsed * kHidden);
        const auto a = swiglu(gate, up, ids[slot] * kInner, kInner, {row, row + kHidden});
        std::vector<float> y(kHidden);
        const auto fed = std::span(rounded).subspan(slot * kInner, kInner);
        reference::linear(down.tensor, ids[slot] * kHidden, kHidden, fed, y);
        wanted_act.insert(wanted_act.end(), a.begin(), a.end());
        wanted.insert(wanted.end(), y.begin(), y.end());
    }
    CHECK(relative_error(act, wanted_act) < kHalfTolerance);
    CHECK(relative_error(product.get<float>(4), wanted) < kHalfTolerance);
}

constexpr double kFlashTolerance = 2e-3;  // queries, keys, weights and values are halves

struct FlashCase {
    int64_t heads, kv_heads, size, position;
    int rows;
    const char* kv;

    int waves() const { return size > 128 ? 2 : 4; }
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

void check_flash(const FlashCase& c) {
    CAPTURE(c.spec().to_string());
    CAPTURE(c.position);
    CAPTURE(c.rows);
    const int64_t kv_width = c.kv_heads * c.size, total = c.position + c.rows;
    const auto k = random_floats(static_cast<size_t>(total * kv_width), 21);
    const auto v = random_floats(static_cast<size_t>(total * kv_width), 22);
    auto q = random_floats(static_cast<size_t>(c.rows * c.heads * c.size), 23);
    for (float& value : q) value *= 4;  // some weights near one, many near zero
    const std::string kv = c.kv;
    const KvType type = kv == "KvF32" ? KvType::kF32 : kv == "KvQ8" ? KvType::kQ8 : KvType::kBF16;
    const auto cache_bytes = static_cast<size_t>(total * kv_row_bytes(type, c.kv_heads, c.size));
    KernelRun write({"kv_write",
                     {{"Kv", kv},
                      {"kKvHeads", text(c.kv_heads)},
                      {"kHeadSize", text(c.size)},
                      {"kWaves", "1"}}});
    write.step(0, static_cast<int>(total)).in(k).in(v).out(cache_bytes).out(cache_bytes);
    write.launch({static_cast<uint32_t>(c.kv_heads), static_cast<uint32_t>(total)}, 32);
    KernelRun run(c.spec());
    run.step(static_cast<int>(c.position), c.rows)
        .in(q)
        .in(write.get<uint8_t>(3))
        .in(write.get<uint8_t>(4));
    run.out(q.size() * 4);
    run.launch({static_cast<uint32_t>(c.kv_heads),
                groups_of(c.rows, 16 * c.waves() / (c.heads / c.kv_heads))},
               static_cast<uint32_t>(32 * c.waves()));

    std::vector<float> wanted(q.size());
    for (int64_t i = 0; i < c.rows * c.heads; ++i) {
        const int64_t head = i % c.heads / (c.heads / c.kv_heads) * c.size, at = i * c.size;
        reference::attend(
            std::span(q).subspan(static_cast<size_t>(at), static_cast<size_t>(c.size)),
            k.data() + head, v.data() + head, kv_width, c.position + i / c.heads + 1, 0.125,
            std::span(wanted).subspan(static_cast<size_t>(at), static_cast<size_t>(c.size)));
    }
    CHECK(relative_error(run.get<float>(4), wanted) <
          (type == KvType::kF32 ? kFlashTolerance : 2e-2));
}

TEST_CASE("attention_flash equals the oracle over head sizes, groups of heads, and positions") {
    std::vector<FlashCase> cases;
    for (const int64_t size : {64, 80, 128, 256})
        for (const int64_t position : {0, 30, 32, 999})
            cases.push_back({4, 2, size, position, 33, "KvF32"});
    cases.push_back({6, 1, 64, 5, 70, "KvBF16"});  // six heads do not divide the rows of a group
    cases.push_back({8, 1, 256, 40, 7, "KvF32"});
    cases.push_back({4, 2, 80, 40, 33, "KvQ8"});
    cases.push_back({2, 2, 128, 0, 1, "KvF32"});
    std::vector<KernelSpec> specs;
    for (const FlashCase& c : cases) specs.push_back(c.spec());
    compile_all(specs);
    for (const FlashCase& c : cases) check_flash(c);
}

TEST_CASE("attention_flash of a few rows behind a short context equals the oracle") {
    check_flash({4, 2, 64, 50, 20, "KvF32"});
    check_flash({4, 2, 256, 3, 5, "KvF32"});
}

}  // namespace
}  // namespace hetune::testing
