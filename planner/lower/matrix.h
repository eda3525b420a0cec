// Products of many rows on the matrix units. Their activations are half rows; W stays as it is.
#pragma once

#include <string>

#include "planner/lower/lowering.h"
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

bool experts_by_matrix(const PlanBuilder& b, const ops::Experts& op);

// For the lists of lowerings.
extern const Lowering<ops::Linear> kLinearByMatrix;
extern const Lowering<ops::LinearAdd> kLinearAddByMatrix;
extern const Lowering<ops::Swiglu> kSwigluByMatrix;
extern const Lowering<ops::RmsNorm> kNormOfHalves;  // where a reader wants half rows
extern const Lowering<ops::Experts> kExpertsByMatrix;

}  // namespace hetune
