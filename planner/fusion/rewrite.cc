#include "planner/fusion/rewrite.h"

#include <algorithm>

#include "kernel_templates/quant/registry.h"

namespace hetune {

std::optional<size_t> producer(const FusedGraph& graph, ValueId value) {
    for (size_t i = 0; i < graph.ops.size(); ++i)
        if (makes(graph.ops[i], value)) return i;
    return std::nullopt;
}

std::vector<size_t> users(const FusedGraph& graph, ValueId value) {
    std::vector<size_t> found;
    for (size_t i = 0; i < graph.ops.size(); ++i)
        if (reads(graph.ops[i], value)) found.push_back(i);
    return found;
}

std::optional<size_t> only_user(const FusedGraph& graph, ValueId value) {
    const auto found = users(graph, value);
    if (found.size() != 1 || value == graph.model.logits) return std::nullopt;
    return found[0];
}

void replace(FusedGraph& graph, size_t at, Op fused, std::vector<size_t> others) {
    graph.ops[at] = std::move(fused);
    std::ranges::sort(others, std::greater{});
    for (const size_t other : others)
        graph.ops.erase(graph.ops.begin() + static_cast<int64_t>(other));
}

std::optional<bool> takes_quantised(const ModelFile& file, const PlanOptions& options,
                                    std::span<const std::string> weights) {
    std::optional<bool> all;
    for (const std::string& weight : weights) {
        const QuantFormat* format = find_quant(file.tensor(weight).ggml_type);
        if (format == nullptr) return std::nullopt;
        const bool one = format->integer && options.activations == Activations::kQuantised;
        if (all && *all != one) return std::nullopt;
        all = one;
    }
    return all;
}

std::optional<FusedProduct> fused_product(const Op& op) {
    if (const auto* fan = std::get_if<ops::LinearFan>(&op)) {
        FusedProduct product{.x = fan->x, .weights = {}};
        for (const ops::FanProduct& of : fan->products) product.weights.push_back(of.weight);
        return product;
    }
    if (const auto* swiglu = std::get_if<ops::Swiglu>(&op))
        return FusedProduct{.x = swiglu->x, .weights = {swiglu->gate, swiglu->up}};
    if (const auto* moe = std::get_if<ops::MoeStep>(&op)) {
        FusedProduct product{.x = moe->x, .weights = {moe->gate, moe->up}};
        if (moe->shared) {
            product.weights.push_back(moe->shared->gate);
            product.weights.push_back(moe->shared->up);
        }
        return product;
    }
    return std::nullopt;
}

bool factor_can_wait(const FusedGraph& graph, const ModelFile& file, const PlanOptions& options,
                     ValueId normed) {
    std::vector<std::string> weights;
    for (const size_t user : users(graph, normed)) {
        const auto product = fused_product(graph.ops[user]);
        if (!product || product->x != normed) return false;
        weights.insert(weights.end(), product->weights.begin(), product->weights.end());
    }
    return !weights.empty() && takes_quantised(file, options, weights).has_value();
}

}  // namespace hetune
