#include "planner/lower/normed.h"

#include <algorithm>

#include "planner/lower/matrix.h"

namespace hetune {
namespace {

bool wants_quantised(const PlanBuilder& b, const FusedProduct& product) {
    return b.options.activations == Activations::kQuantised &&
           std::ranges::all_of(product.weights,
                               [&](const std::string& w) { return b.format(w).integer; });
}

// The epsilon of the op that makes `x` without its norm's factor.
double eps_of(const PlanBuilder& b, ValueId x) {
    double eps = 0;
    for (const Op& op : b.ops) {
        const ops::NextNorm* norm = nullptr;
        if (const auto* embed = std::get_if<ops::EmbedNorm>(&op)) norm = &embed->next;
        if (const auto* linear = std::get_if<ops::LinearAddNorm>(&op)) norm = &linear->next;
        if (const auto* moe = std::get_if<ops::MoeStep>(&op); moe && moe->next) norm = &*moe->next;
        if (norm != nullptr && norm->y == x) eps = norm->eps;
    }
    return eps;
}

// The weight of a product that may take 8-bit blocks of `value`; nullptr where `op` is another.
const ops::Weight* weight_times(const Op& op, ValueId value) {
    if (const auto* linear = std::get_if<ops::Linear>(&op); linear && linear->x == value)
        return &linear->weight;
    if (const auto* add = std::get_if<ops::LinearAdd>(&op); add && add->x == value)
        return &add->weight;
    if (const auto* norm = std::get_if<ops::LinearAddNorm>(&op); norm && norm->x == value)
        return &norm->weight;
    return nullptr;
}

}  // namespace

Normed out_normed(PlanBuilder& b, const ops::NextNorm& norm) {
    bool quantised = false;
    for (const Op& op : b.ops)
        if (reads(op, norm.y)) quantised = wants_quantised(b, fused_product(op).value());
    return {b.out(norm.y, quantised ? Form::kQuantised : Form::kFloat),
            b.out(norm.y, Form::kSquares), quantised};
}

FusedInput in_normed(PlanBuilder& b, const Op& reader) {
    const FusedProduct product = fused_product(reader).value();
    const ValueId x = product.x;
    const bool quantised = wants_quantised(b, product);
    const bool due = b.has(x, Form::kSquares);
    const Form form = quantised ? Form::kQuantised : Form::kFloat;
    return {due ? b.in_due(x, form) : b.in(x, form), due ? b.in_due(x, Form::kSquares) : b.none(),
            quantised, due, due ? eps_of(b, x) : 0};
}

bool output_quantised(const PlanBuilder& b, ValueId value) {
    bool any = false;
    for (const Op& op : b.ops) {
        if (!reads(op, value)) continue;
        const ops::Weight* weight = weight_times(op, value);
        if (weight == nullptr || !b.format(*weight).integer) return false;
        // The matrix units want half rows, which are made of floats.
        if (!std::holds_alternative<ops::LinearAddNorm>(op) &&
            by_matrix(b, value, b.tensor_rows(*weight)))
            return false;
        any = true;
    }
    return any && b.options.activations == Activations::kQuantised && b.width(value) % 32 == 0;
}

}  // namespace hetune
