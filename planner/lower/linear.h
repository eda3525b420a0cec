// What lowerings of matrix products share.
#pragma once

#include <initializer_list>
#include <map>
#include <string>

#include "planner/lower/plan_builder.h"

namespace hetune {

// Activations for products with `weights`: in 8 bits where the options ask for it and every format
// allows it.
struct LinearInput {
    PlanArg arg;
    bool quantised = false;
};
LinearInput linear_input(PlanBuilder& b, ValueId x, std::initializer_list<std::string> weights);

// Rows of activations that share one pass over a matrix, and whether integer matrix units multiply
// them. Both give a row the same bits.
struct TokenTile {
    int tokens = 1;
    bool matrix = false;
    bool tiled = false;  // activations as XTile
};
TokenTile token_tile(const PlanBuilder& b, const char* kernel, ValueId x, bool quantised);
// product_spec() adds to a kernel's constants how it takes x: kTokens, kMatrix, kQuantisedInput and
// kTiledInput.
KernelSpec product_spec(std::string kernel, const TokenTile& tile, bool quantised,
                        std::map<std::string, std::string> constants);
// input_of() gives x in the form that `tile` asks for: XTile, or what `arg` is.
PlanArg input_of(PlanBuilder& b, const TokenTile& tile, ValueId x, PlanArg arg);

// Emits y = weight x (+ bias); y is float [rows, rows of the weight].
void emit_linear(PlanBuilder& b, const std::string& label, ValueId x, const LinearInput& input,
                 const ops::Weight& weight, const ops::Weight& bias, PlanArg y);

}  // namespace hetune
