// How far results of a kernel are from what they should be.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "runtime/trial/certificate.h"
#include "runtime/trial/samples.h"

namespace hetune {

// Results of one output and what they should be.
class Comparison {
  public:
    Comparison(std::string name, double tolerance)
        : name_(std::move(name)), tolerance_(tolerance) {}
    // `row`: where, for the classes mod 16.
    void add(int64_t row, double got, double wanted);
    // The same of rows `row` and on.
    void add_all(int64_t row, std::span<const float> got, std::span<const float> wanted);
    // One block of 8 bits, whose 32 values are rows `row` and on: no further than the rounding of
    // this block from what is wanted, and its sums those of its values. What counts as an error is
    // what is beyond the rounding, so that the tolerance is that of the arithmetic before it.
    void add_block(int64_t row, const HostXBlock& block, std::span<const float> wanted);
    CertifiedOutput result() const;

  private:
    std::string name_;
    double tolerance_;
    int64_t samples_ = 0;
    double largest_ = 0, sum_ = 0;  // of what is wanted, and of all differences
    double by_row_[16] = {};        // the largest difference of each class
};

// For sums of many products in another order; half of one of 127 steps, of values rounded to 8
// bits; for what must be exact.
constexpr double kSumTolerance = 2e-4;
constexpr double kHalfStep = 0.51 / 127;
constexpr double kExact = 0;

}  // namespace hetune
