// Products on matrix units: activations and weights in 16-bit floats, sums in float.
#include "runtime/oracle/primitives.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"

namespace hetune {
namespace {

constexpr double kHalfWeights = 2e-3;  // a weight is rounded to 11 bits

void certify_gemm(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols");
    const auto x = t.put("x", seeded_half_rows(t.rows(), cols, t.random()));
    const bool residual = t.flag("kResidual");
    const auto before =
        residual ? t.put_floats("residual", t.rows() * rows) : std::span<const float>();
    const auto bias = t.flag("kBias") ? t.weight_vector("bias") : std::span<const float>();
    t.out_floats("y", rows);
    t.launch();
    const auto y = t.get<float>("y");
    const Products products(t, "w", distinct_half_rows(cols, x), cols);
    Comparison& comparison = t.compare("y", kHalfWeights);
    std::vector<float> wanted(static_cast<size_t>(rows));
    for (int64_t token = 0; token < t.rows(); ++token) {
        for (int64_t row = 0; row < rows; ++row) {
            double value = products.of(row, token);
            if (!bias.empty()) value += static_cast<double>(bias[static_cast<size_t>(row)]);
            if (residual)
                value += static_cast<double>(before[static_cast<size_t>(token * rows + row)]);
            wanted[static_cast<size_t>(row)] = static_cast<float>(value);
        }
        comparison.add_all(0, row_of(y, token, rows), wanted);
    }
}

void certify_gemm_swiglu(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols");
    const auto x = t.put("x", seeded_half_rows(t.rows(), cols, t.random()));
    t.out_floats("y", rows);
    t.launch();
    const auto y = t.get<float>("y");
    const GatedProducts products(t, distinct_half_rows(cols, x), cols);
    Comparison& comparison = t.compare("y", 2 * kHalfWeights);
    for (int64_t token = 0; token < t.rows(); ++token)
        comparison.add_all(0, row_of(y, token, rows), products.rows(0, rows, token));
}

void certify_half_rows(Trial& t) {
    const int64_t cols = t.number("kCols"), rows = t.rows() * t.number("kPerRow");
    const int64_t all = t.full_rows() * t.number("kPerRow"), row_words = (2 * cols + 16) / 4;
    const auto x = t.put_floats("x", rows * cols);
    const bool norm = t.flag("kNorm"), floats = t.flag("kFloats");
    const auto w = norm ? t.weight_vector("w") : std::span<const float>();
    if (floats) t.out_floats("floats", t.number("kPerRow") * cols);
    // Behind the scale of a row are words that nobody reads, so nothing is said about what is
    // written.
    t.scratch("y", all * row_words * 4);
    t.launch();
    const auto y = t.get<std::byte>("y");
    const auto values = floats ? t.get<float>("floats") : std::span<const float>();
    Comparison& comparison = t.compare("y", 1e-3);  // 11 bits
    std::vector<float> wanted(static_cast<size_t>(cols));
    for (int64_t row = 0; row < rows; ++row) {
        const auto from = row_of(x, row, cols);
        if (norm)
            reference::rmsnorm(from, w, t.real("kEps"), wanted);
        else
            wanted.assign(from.begin(), from.end());
        const auto got = half_row(cols, y, row);
        comparison.add_all(0, got, wanted);
        if (floats)
            t.compare("floats", kFewOperations).add_all(0, row_of(values, row, cols), wanted);
    }
}

}  // namespace

constinit const Certifier kGemmCertifier = {"gemm", certify_gemm};
constinit const Certifier kGemmSwigluCertifier = {"gemm_swiglu", certify_gemm_swiglu};
constinit const Certifier kHalfRowsCertifier = {"half_rows", certify_half_rows};

}  // namespace hetune
