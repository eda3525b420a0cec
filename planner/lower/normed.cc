#include "planner/lower/normed.h"

#include <algorithm>

#include "planner/lower/matrix.h"

namespace hetune {
namespace {

bool wants_quantised(const PlanBuilder& b, const Op& reader) {
    return b.options.activations == Activations::kQuantised &&
           std::ranges::all_of(matrices_of_input(reader),
                               [&](const std::string& w) { return b.format(w).integer; });
}

}  // namespace

Normed out_normed(PlanBuilder& b, ValueId normed) {
    bool quantised = false;
    for (const Op& op : b.graph.ops)
        if (std::ranges::find(op.inputs, normed) != op.inputs.end())
            quantised = wants_quantised(b, op);
    return {b.out(normed, quantised ? Form::kQuantised : Form::kFloat),
            b.out(normed, Form::kSquares), quantised};
}

FusedInput in_normed(PlanBuilder& b, ValueId x, const Op& reader) {
    const bool quantised = wants_quantised(b, reader);
    const bool due = b.has(x, Form::kSquares);
    const Form form = quantised ? Form::kQuantised : Form::kFloat;
    double eps = 0;
    for (const Op& op : b.graph.ops)
        if (due && std::ranges::find(op.outputs, x) != op.outputs.end()) eps = op.attribute("eps");
    return {due ? b.in_due(x, form) : b.in(x, form), due ? b.in_due(x, Form::kSquares) : b.none(),
            quantised, due, eps};
}

bool output_quantised(const PlanBuilder& b, ValueId value) {
    bool any = false;
    for (const Op& op : b.graph.ops) {
        if (std::ranges::find(op.inputs, value) == op.inputs.end()) continue;
        const bool product =
            op.kind == "linear" || op.kind == "linear_add" || op.kind == "linear_add_norm";
        if (!product || op.inputs[0] != value || !b.format(op.weights[0]).integer) return false;
        // The matrix units want half rows, which are made of floats.
        if (op.kind != "linear_add_norm" && by_matrix(b, value, b.tensor_rows(op.weights[0])))
            return false;
        any = true;
    }
    return any && b.options.activations == Activations::kQuantised && b.width(value) % 32 == 0;
}

}  // namespace hetune
