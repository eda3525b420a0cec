#include "runtime/certify/products.h"

#include <cmath>

namespace hetune {

std::vector<double> put_squares(Trial& t, int64_t rows, int64_t cols, double eps) {
    std::vector<float> squares = seeded_floats(static_cast<size_t>(rows * cols / 32), t.random());
    for (float& value : squares) value = 4.0f + 3.0f * value;
    t.put("squares", squares);
    std::vector<double> factors;
    for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (const float value : row_of(squares, r, cols / 32)) sum += static_cast<double>(value);
        factors.push_back(1 / std::sqrt(sum / static_cast<double>(cols) + eps));
    }
    return factors;
}

TileOutput::TileOutput(Trial& t, std::string param, int64_t width, bool quantised, double tolerance)
    : trial_(t),
      param_(std::move(param)),
      width_(width),
      quantised_(quantised),
      tolerance_(quantised ? kHalfStep + tolerance : tolerance) {
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
      tolerance_(quantised ? kHalfStep + kSumTolerance : kSumTolerance) {
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
    for (size_t i = 0; i < wanted.size(); ++i) {
        const int64_t column = tile * 32 + static_cast<int64_t>(i);
        comparison.add(column,
                       static_cast<double>(floats_[static_cast<size_t>(row * width_ + column)]),
                       static_cast<double>(wanted[i]));
    }
}

void TileOutput::compare_row(int64_t row, std::span<const float> wanted) {
    for (size_t at = 0; at < wanted.size(); at += 32)
        compare(row, static_cast<int64_t>(at / 32),
                wanted.subspan(at, std::min<size_t>(32, wanted.size() - at)));
}

}  // namespace hetune
