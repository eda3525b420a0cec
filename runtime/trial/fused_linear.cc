// gemv_residual and gemv_swiglu: whole tiles of rows, since a tile is a block of what comes next.
#include <optional>

#include "runtime/oracle/primitives.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"

namespace hetune {
namespace {

void certify_residual(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols");
    const auto x = put_input(t, cols);
    const auto residual = t.put_floats("residual", t.rows() * rows);
    const bool normed = t.flag("kNormed");
    std::span<const float> norm;
    std::optional<TileOutput> next;
    t.out_floats("h", rows);
    if (normed) {
        norm = t.weight_vector("norm");
        next.emplace(t, "next", rows, t.flag("kQuantisedOutput"));
        t.out_floats("squares", rows / 32);
    }
    t.launch();

    if (normed) next->read();
    const auto h = t.get<float>("h");
    const auto squares = normed ? t.get<float>("squares") : std::span<const float>();
    const Products products(t, "w", x, cols);
    Comparison& compare_h = t.compare("h", kSumTolerance);
    std::vector<float> wanted(static_cast<size_t>(rows)), sums(static_cast<size_t>(rows / 32));
    for (int64_t token = 0; token < t.rows(); ++token) {
        const auto before = row_of(residual, token, rows);
        for (int64_t row = 0; row < rows; ++row) {
            const auto at = static_cast<size_t>(row);
            wanted[at] =
                static_cast<float>(products.of(row, token) + static_cast<double>(before[at]));
        }
        compare_h.add_all(0, row_of(h, token, rows), wanted);
        if (!normed) continue;
        for (size_t tile = 0; tile < sums.size(); ++tile) {
            const auto values = row_of(wanted, static_cast<int64_t>(tile), 32);
            sums[tile] = static_cast<float>(dot(values, values));
        }
        t.compare("squares", kSumTolerance).add_all(0, row_of(squares, token, rows / 32), sums);
        for (size_t at = 0; at < wanted.size(); ++at) wanted[at] *= norm[at];
        next->compare_row(token, wanted);
    }
}

void certify_swiglu(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols");
    const auto x = put_input(t, cols);
    std::vector<double> factors(static_cast<size_t>(t.rows()), 1.0);
    if (t.flag("kNormed")) factors = put_squares(t, t.rows(), cols, t.real("kEps"));
    TileOutput y(t, "y", rows, t.flag("kQuantisedOutput"));
    t.launch();
    y.read();
    const GatedProducts products(t, x, cols);
    std::vector<std::vector<float>> wanted;  // of each distinct row
    for (int64_t token = 0; token < t.rows(); ++token) {
        if (token < kDistinctRows)
            wanted.push_back(products.rows(0, rows, token, factors[static_cast<size_t>(token)]));
        y.compare_row(token, wanted[static_cast<size_t>(token % kDistinctRows)]);
    }
}

}  // namespace

constinit const Certifier kGemvResidualCertifier = {"gemv_residual", certify_residual};

Certifiers certifiers(const ops::LinearAdd&) {
    static const Certifier list[] = {kGemvResidualCertifier, kGemmCertifier};
    return list;
}
Certifiers certifiers(const ops::LinearAddNorm&) { return {&kGemvResidualCertifier, 1}; }
Certifiers certifiers(const ops::Swiglu&) {
    static const Certifier list[] = {
        {"gemv_swiglu", certify_swiglu}, kGemmSwigluCertifier, kGemmCertifier, kBinaryCertifier};
    return list;
}

}  // namespace hetune
