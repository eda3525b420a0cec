// gemv and gemv_fan: products, row by row.
#include <fmt/format.h>

#include "runtime/certify/certifier.h"
#include "runtime/certify/products.h"

namespace hetune {
namespace {

// One product of the trial against the oracle's, behind the launch.
struct Product {
    std::string weights, bias, output;  // parameters; bias may be empty
    int64_t rows;
};

void compare_product(Trial& t, const Product& p, std::span<const float> x, int64_t cols,
                     const std::vector<double>& factors) {
    const auto y = t.get<float>(p.output);
    const std::vector<float> bias = p.bias.empty() ? std::vector<float>() : t.weight_vector(p.bias);
    Comparison& comparison = t.compare(p.output, kSumTolerance);
    for (const int64_t row : sample_of(p.rows)) {
        const std::vector<float> w = t.weight_row(p.weights, row);
        for (const int64_t token : sample_of_tokens(t.rows(), row)) {
            double wanted = dot(w, row_of(x, token, cols));
            if (!factors.empty()) wanted *= factors[static_cast<size_t>(token)];
            if (!bias.empty()) wanted += static_cast<double>(bias[static_cast<size_t>(row)]);
            comparison.add(row, static_cast<double>(y[static_cast<size_t>(token * p.rows + row)]),
                           wanted);
        }
    }
}

void certify_gemv(Trial& t) {
    const int64_t cols = t.number("kCols");
    const Product product{"w", t.flag("kBias") ? "bias" : "", "y", t.number("kRows")};
    const auto x = t.put_activations("x", t.rows(), cols, t.flag("kQuantisedInput"));
    t.out_floats(product.output, product.rows);
    t.launch();
    compare_product(t, product, x, cols, {});
}

void certify_fan(Trial& t) {
    const int64_t cols = t.number("kCols");
    const auto x = t.put_activations("x", t.rows(), cols, t.flag("kQuantisedInput"));
    std::vector<double> factors;
    if (t.flag("kNormed")) factors = put_squares(t, t.rows(), cols, t.real("kEps"));
    std::vector<Product> products;
    for (int i = 0; i < 4; ++i) {
        const int64_t rows = t.number(fmt::format("kRows{}", i));
        if (rows == 0) continue;
        products.push_back({fmt::format("w{}", i), t.flag("kBias") ? fmt::format("bias{}", i) : "",
                            fmt::format("y{}", i), rows});
        t.out_floats(products.back().output, rows);
    }
    t.launch();
    for (const Product& product : products) compare_product(t, product, x, cols, factors);
}

const RegisterCertifier kGemv{{"gemv"}, certify_gemv};
const RegisterCertifier kFan{{"gemv_fan"}, certify_fan};

}  // namespace
}  // namespace hetune
