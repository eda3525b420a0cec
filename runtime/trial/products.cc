#include "runtime/trial/products.h"

#include <algorithm>
#include <cmath>

namespace hetune {

std::vector<double> put_squares(Trial& t, int64_t rows, int64_t cols, double eps) {
    std::vector<float> distinct =
        seeded_floats(static_cast<size_t>(std::min(rows, kDistinctRows) * cols / 32), t.random());
    for (float& value : distinct) value = 4.0f + 3.0f * value;
    std::vector<float> squares(static_cast<size_t>(rows * cols / 32));
    for (size_t i = 0; i < squares.size(); ++i) squares[i] = distinct[i % distinct.size()];
    t.put("squares", squares);
    std::vector<double> factors;
    for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (const float value : row_of(squares, r, cols / 32)) sum += static_cast<double>(value);
        factors.push_back(1 / std::sqrt(sum / static_cast<double>(cols) + eps));
    }
    return factors;
}

std::vector<float> put_input(Trial& t, int64_t cols) {
    return t.put_activations("x", t.rows(), cols, t.flag("kQuantisedInput"), t.flag("kTiledInput"));
}

Products::Products(Trial& t, std::string_view weights, std::span<const float> x, int64_t cols)
    : distinct_(t.distinct_weight_rows(weights)) {
    const int64_t rows = std::min(static_cast<int64_t>(x.size()) / cols, kDistinctRows);
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t w = 0; w < distinct_; ++w)
            values_.push_back(dot(t.weight_row(weights, w), row_of(x, row, cols)));
}

TileOutput::TileOutput(Trial& t, std::string param, int64_t width, bool quantised, double tolerance)
    : trial_(t),
      param_(std::move(param)),
      width_(width),
      quantised_(quantised),
      tolerance_(tolerance) {
    if (quantised_)
        t.out_blocks(param_, width_);
    else
        t.out_floats(param_, width_);
}

TileOutput::TileOutput(Trial& t, std::string param, int64_t rows, int64_t width, bool quantised)
    : trial_(t),
      param_(std::move(param)),
      width_(width),
      quantised_(quantised),
      tolerance_(kSumTolerance) {
    if (quantised_)
        t.out_all_blocks(param_, rows * width_);
    else
        t.out_all_floats(param_, rows * width_);
}

void TileOutput::read() {
    if (quantised_)
        blocks_ = trial_.get<HostXBlock>(param_);
    else
        floats_ = trial_.get<float>(param_);
}

void TileOutput::compare(int64_t row, int64_t tile, std::span<const float> wanted) {
    Comparison& comparison = trial_.compare(param_, tolerance_);
    if (quantised_) {
        comparison.add_block(tile * 32, blocks_[static_cast<size_t>(row * (width_ / 32) + tile)],
                             wanted);
        return;
    }
    comparison.add_all(
        tile * 32, floats_.subspan(static_cast<size_t>(row * width_ + tile * 32), wanted.size()),
        wanted);
}

void TileOutput::compare_row(int64_t row, std::span<const float> wanted) {
    if (!quantised_) {
        trial_.compare(param_, tolerance_).add_all(0, row_of(floats_, row, width_), wanted);
        return;
    }
    for (size_t at = 0; at < wanted.size(); at += 32)
        compare(row, static_cast<int64_t>(at / 32),
                wanted.subspan(at, std::min<size_t>(32, wanted.size() - at)));
}

}  // namespace hetune
