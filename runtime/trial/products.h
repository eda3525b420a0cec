// What the certifiers of linear kernels share: exact products with rows of the made weights.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "runtime/oracle/primitives.h"
#include "runtime/trial/trial.h"

namespace hetune {

using reference::dot;

constexpr double kFewOperations = 2e-5;  // of floats, exponentials of the device among them

inline std::span<const float> row_of(std::span<const float> values, int64_t row, int64_t width) {
    return values.subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
}

// Products of all rows of made weights with all rows of made activations, of which both repeat.
class Products {
  public:
    // `x`: [rows, cols], of which the first kDistinctRows are looked at.
    Products(Trial& t, std::string_view weights, std::span<const float> x, int64_t cols);
    double of(int64_t weight_row, int64_t row) const {
        return values_[static_cast<size_t>(row % kDistinctRows * distinct_ +
                                           weight_row % distinct_)];
    }

  private:
    int64_t distinct_;
    std::vector<double> values_;  // [kDistinctRows or fewer, distinct_]
};

// silu(gate x) * up x, with a factor on both products, and one more on the gate's.
class GatedProducts {
  public:
    GatedProducts(Trial& t, std::span<const float> x, int64_t cols, const char* gate = "gate",
                  const char* up = "up")
        : gate_(t, gate, x, cols), up_(t, up, x, cols) {}
    // Weight rows from `first` on, for one row of x.
    std::vector<float> rows(int64_t first, int64_t count, int64_t row, double factor = 1,
                            double gate_scale = 1) const {
        std::vector<float> values;
        for (int64_t w = first; w < first + count; ++w)
            values.push_back(static_cast<float>(
                reference::silu(gate_.of(w, row) * factor * gate_scale) * up_.of(w, row) * factor));
        return values;
    }

  private:
    Products gate_, up_;
};

// Squares of a norm whose factor is due, [rows, cols / 32], and the factors of the rows. Rows
// repeat after kDistinctRows.
std::vector<double> put_squares(Trial& t, int64_t rows, int64_t cols, double eps);
// "x" of a linear kernel, [rows, cols], in the form that its constants state; gives its values.
std::vector<float> put_input(Trial& t, int64_t cols);

// An output in 8-bit blocks or floats, of a kernel that makes whole tiles of 32 rows.
class TileOutput {
  public:
    // `tolerance`: of the values before they are rounded to 8 bits.
    TileOutput(Trial& t, std::string param, int64_t width, bool quantised,
               double tolerance = kSumTolerance);
    // For rows that are not the step's: `rows` of them, all written.
    TileOutput(Trial& t, std::string param, int64_t rows, int64_t width, bool quantised);
    void read();  // behind a launch; valid until the next
    // 32 values of a row (fewer of the last tile, of floats), and all of them.
    void compare(int64_t row, int64_t tile, std::span<const float> wanted);
    void compare_row(int64_t row, std::span<const float> wanted);

  private:
    Trial& trial_;
    std::string param_;
    int64_t width_;
    bool quantised_;
    double tolerance_;
    std::span<const HostXBlock> blocks_;
    std::span<const float> floats_;
};

}  // namespace hetune
