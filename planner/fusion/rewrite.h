// What fusion rules share: looking around in a graph, and rewriting it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "planner/fusion/fused_graph.h"
#include "planner/plan/plan.h"

namespace hetune {

// The op that makes a value.
std::optional<size_t> producer(const FusedGraph& graph, ValueId value);
// Ops that read a value, in order. The logits have one more reader, who is not an op.
std::vector<size_t> users(const FusedGraph& graph, ValueId value);
// The only op that reads a value; empty where there are more or none, or it is the logits.
std::optional<size_t> only_user(const FusedGraph& graph, ValueId value);

// An op of one kind and its place; none where the op at that place is of another kind.
template <class T>
struct Found {
    const T* op = nullptr;
    size_t at = 0;

    explicit operator bool() const { return op != nullptr; }
    const T* operator->() const { return op; }
};
template <class T>
Found<T> op_at(const FusedGraph& graph, std::optional<size_t> at) {
    if (!at) return {};
    return {std::get_if<T>(&graph.ops[*at]), *at};
}
template <class T>
Found<T> produced_by(const FusedGraph& graph, ValueId value) {
    return op_at<T>(graph, producer(graph, value));
}
template <class T>
Found<T> only_used_by(const FusedGraph& graph, ValueId value) {
    return op_at<T>(graph, only_user(graph, value));
}
// The first of the ops that read a value that is a T for which `fits` holds.
template <class T, class Fits>
Found<T> used_by(const FusedGraph& graph, ValueId value, const Fits& fits) {
    for (const size_t user : users(graph, value))
        if (const auto found = op_at<T>(graph, user); found && fits(*found.op)) return found;
    return {};
}

// Calls rewrite(found) for each op of a kind, in order, until one call says that it has changed the
// graph. False: none has.
template <class T, class Rewrite>
bool rewrite_first(const FusedGraph& graph, const Rewrite& rewrite) {
    for (size_t i = 0; i < graph.ops.size(); ++i)
        if (const auto found = op_at<T>(graph, i); found && rewrite(found)) return true;
    return false;
}

// Replaces the op at `at` by `fused`, and removes `others`.
void replace(FusedGraph& graph, size_t at, Op fused, std::vector<size_t> others);

// The input of a fused product, which may lack its norm's factor, and the weights that are
// multiplied with it. Empty for other ops.
struct FusedProduct {
    ValueId x;
    std::vector<std::string> weights;
};
std::optional<FusedProduct> fused_product(const Op& op);

// Whether products with these weights take 8-bit activations. Empty where they differ, or a format
// is unknown.
std::optional<bool> takes_quantised(const ModelFile& file, const PlanOptions& options,
                                    std::span<const std::string> weights);

// Whether all readers of a norm's output are fused ops that apply the norm's factor themselves, and
// want it in one form.
bool factor_can_wait(const FusedGraph& graph, const ModelFile& file, const PlanOptions& options,
                     ValueId normed);

}  // namespace hetune
