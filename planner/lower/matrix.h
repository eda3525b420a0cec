// Products of many rows on the matrix units. Their activations are half rows; W stays as it is.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "planner/lower/plan_builder.h"

namespace hetune {

// How one group's work is cut (kernel_templates/linear/gemm_tile.h).
struct GemmTile {
    int m, n, waves;
};
// For `rows` activation rows and a width of `cols`; `n` counts rows of all matrices together. The
// tunables of `kernel` go before.
GemmTile gemm_tile(const PlanBuilder& b, const std::string& kernel, int64_t rows, int64_t cols,
                   int matrices = 1);

// Whether products of x with a matrix of so many rows go to the matrix units.
bool by_matrix(const PlanBuilder& b, ValueId x, int64_t matrix_rows);

// The same for an `experts` op.
bool experts_by_matrix(const PlanBuilder& b, const Op& op);

// y = weights[0] x (+ weights[1]) (+ residual); y is float.
void emit_gemm(PlanBuilder& b, const std::string& label, ValueId x,
               std::span<const std::string> weights, std::optional<PlanArg> residual, PlanArg y);

}  // namespace hetune
