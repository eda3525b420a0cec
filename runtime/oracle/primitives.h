// The oracle's arithmetic: one function per primitive of planner/graph/layer_graph.h, float32
// values, sums in double, no blocking, no fusion. Kernels are compared with these.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "planner/file/model_file.h"
#include "planner/plan/kv_type.h"

namespace hetune::reference {

// Row `row` of a matrix as floats. Throws ModelError for a type without a dequantisation.
std::vector<float> weight_row(const Tensor& tensor, int64_t row);
// The float values of an F32 vector.
std::vector<float> weight_vector(const Tensor& tensor);

// In double, of two spans of the same length.
double dot(std::span<const float> a, std::span<const float> b);

// y[rows, out] = x[rows, in] W^T, W [out, in]; `first` row of W for stacked expert matrices.
void linear(const Tensor& weight, int64_t first, int64_t out, std::span<const float> x,
            std::span<float> y);
void rmsnorm(std::span<const float> x, std::span<const float> weight, double eps,
             std::span<float> y);  // one row
// Heads of `size` values at one position; `turns` per pair, angles 2 pi turns * position.
void rope(std::span<float> heads, size_t size, std::span<const double> turns, double magnitude,
          int64_t position, bool interleaved);
// One query head over `count` keys and values, each `stride` floats apart.
void attend(std::span<const float> q, const float* k, const float* v, int64_t stride, int64_t count,
            double scale, std::span<float> y);
// The same over each of `counts`, which rise: `ready` is told a count when its result is in y.
void attend(std::span<const float> q, const float* k, const float* v, int64_t stride,
            std::span<const int64_t> counts, double scale, std::span<float> y,
            const std::function<void(int64_t count)>& ready);
// One token of one gated delta net head. S [key_size, value_size] <- e^log_decay S, then
// S += k (beta (v - S^T k))^T, y = S^T q; q and k are l2-normalised here, q also / sqrt(key_size).
// Source: Gated Delta Networks, arXiv 2412.06464.
void delta_rule(std::span<float> state, std::span<const float> q, std::span<const float> k,
                std::span<const float> v, double log_decay, double beta, double eps,
                std::span<float> y);
// The `used` experts of the largest softmax probability, lower index first on a tie, in falling
// order; their probabilities, divided by their sum where `renormalise`.
struct Routes {
    std::vector<int> experts;
    std::vector<float> shares;
};
// Of several groups of neighbours only from the `groups_used` whose two largest probabilities add
// up to most, the lower group first on a tie.
Routes route(std::span<const float> logits, size_t used, bool renormalise, size_t groups = 1,
             size_t groups_used = 1);
// To 255 levels of the largest magnitude of each `block` values, as the kernels' XBlock.
void round_to_8_bits(std::span<float> values, size_t block);
// To what a KV cache holds; `values` are whole heads.
void round_to_kv(std::span<float> values, KvType type, size_t head_size);
double silu(double x);
double sigmoid(double x);
double softplus(double x);

}  // namespace hetune::reference
