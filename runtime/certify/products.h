// What the certifiers of linear kernels share: exact products with rows of the file's weights.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "runtime/certify/trial.h"

namespace hetune {

inline double dot(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i)
        sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
}

inline std::span<const float> row_of(const std::vector<float>& values, int64_t row, int64_t width) {
    return std::span(values).subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
}

// Squares of a norm whose factor is due, [rows, cols / 32], and the factors of the rows.
std::vector<double> put_squares(Trial& t, int64_t rows, int64_t cols, double eps);

// An output in 8-bit blocks or floats, of a kernel that makes whole tiles of 32 rows.
class TileOutput {
  public:
    // `tolerance`: of the values before they are rounded to 8 bits.
    TileOutput(Trial& t, std::string param, int64_t width, bool quantised,
               double tolerance = kSumTolerance);
    // For rows that are not the step's: `rows` of them, all written.
    TileOutput(Trial& t, std::string param, int64_t rows, int64_t width, bool quantised);
    void read();  // behind a launch
    // 32 values of a row, and all of them.
    void compare(int64_t row, int64_t tile, std::span<const float> wanted);
    void compare_row(int64_t row, std::span<const float> wanted);

  private:
    Trial& trial_;
    std::string param_;
    int64_t width_;
    bool quantised_;
    double tolerance_;
    std::vector<HostXBlock> blocks_;
    std::vector<float> floats_;
};

}  // namespace hetune
