// What the certifiers of linear kernels share: exact products with rows of the file's weights.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "runtime/certify/trial.h"
#include "runtime/reference/primitives.h"

namespace hetune {

using reference::dot;

inline std::span<const float> row_of(std::span<const float> values, int64_t row, int64_t width) {
    return values.subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
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
    void read();  // behind a launch; valid until the next
    // 32 values of a row, and all of them.
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
