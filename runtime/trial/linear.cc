// gemv and gemv_fan: products, row by row.
#include <fmt/format.h>

#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"

namespace hetune {
namespace {

// One product of the trial against the oracle's, behind the launch.
struct Product {
    std::string weights, bias, output;  // parameters; bias may be empty
    int64_t rows;
};

void compare_product(Trial& t, const Product& p, std::span<const float> bias,
                     std::span<const float> x, int64_t cols, const std::vector<double>& factors) {
    const auto y = t.get<float>(p.output);
    const Products products(t, p.weights, x, cols);
    Comparison& comparison = t.compare(p.output, kSumTolerance);
    std::vector<std::vector<float>> wanted;  // of each distinct row
    for (int64_t token = 0; token < t.rows(); ++token) {
        if (token < kDistinctRows) {
            std::vector<float>& values = wanted.emplace_back();
            const double factor = factors.empty() ? 1 : factors[static_cast<size_t>(token)];
            for (int64_t row = 0; row < p.rows; ++row) {
                const auto offset =
                    bias.empty() ? 0 : static_cast<double>(bias[static_cast<size_t>(row)]);
                values.push_back(static_cast<float>(products.of(row, token) * factor + offset));
            }
        }
        comparison.add_all(0, row_of(y, token, p.rows),
                           wanted[static_cast<size_t>(token % kDistinctRows)]);
    }
}

void certify_gemv(Trial& t) {
    const int64_t cols = t.number("kCols");
    const Product product{"w", t.flag("kBias") ? "bias" : "", "y", t.number("kRows")};
    const auto x = put_input(t, cols);
    const auto bias =
        product.bias.empty() ? std::span<const float>() : t.weight_vector(product.bias);
    t.out_floats(product.output, product.rows);
    t.launch();
    compare_product(t, product, bias, x, cols, {});
}

void certify_fan(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto x = put_input(t, cols);
    std::vector<double> factors;
    if (t.flag("kNormed")) factors = put_squares(t, t.rows(), cols, t.real("kEps"));
    std::vector<Product> products;
    std::vector<std::span<const float>> biases;
    for (int i = 0; i < 4; ++i) {
        const int64_t rows = t.number(fmt::format("kRows{}", i));
        if (rows == 0) continue;
        products.push_back({fmt::format("w{}", i), t.flag("kBias") ? fmt::format("bias{}", i) : "",
                            fmt::format("y{}", i), rows});
        biases.push_back(products.back().bias.empty() ? std::span<const float>()
                                                      : t.weight_vector(products.back().bias));
        t.out_floats(products.back().output, rows);
    }
    t.launch();
    for (size_t i = 0; i < products.size(); ++i)
        compare_product(t, products[i], biases[i], x, cols, factors);
}

}  // namespace

constinit const Certifier kGemvCertifier = {"gemv", certify_gemv};

Certifiers certifiers(const ops::Linear&) {
    static const Certifier list[] = {kGemvCertifier, kGemmCertifier};
    return list;
}
Certifiers certifiers(const ops::LinearFan&) {
    static const Certifier list[] = {{"gemv_fan", certify_fan}};
    return list;
}

}  // namespace hetune
