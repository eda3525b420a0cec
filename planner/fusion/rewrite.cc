#include "planner/fusion/rewrite.h"

#include <algorithm>

#include "kernel_templates/quant/registry.h"

namespace hetune {

std::optional<size_t> producer(const LayerGraph& graph, ValueId value) {
    for (size_t i = 0; i < graph.ops.size(); ++i)
        if (std::ranges::find(graph.ops[i].outputs, value) != graph.ops[i].outputs.end()) return i;
    return std::nullopt;
}

std::vector<size_t> users(const LayerGraph& graph, ValueId value) {
    std::vector<size_t> found;
    for (size_t i = 0; i < graph.ops.size(); ++i)
        if (std::ranges::find(graph.ops[i].inputs, value) != graph.ops[i].inputs.end())
            found.push_back(i);
    return found;
}

std::optional<size_t> only_user(const LayerGraph& graph, ValueId value) {
    const auto found = users(graph, value);
    if (found.size() != 1 || value == graph.logits) return std::nullopt;
    return found[0];
}

void replace(LayerGraph& graph, size_t at, Op fused, std::vector<size_t> others) {
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

std::span<const std::string> matrices_of_input(const Op& op) {
    const std::span<const std::string> weights(op.weights);
    if (op.kind == "linear_fan") return weights.first(op.outputs.size());
    if (op.kind == "swiglu") return weights.first(2);
    if (op.kind == "moe_step") return weights.first(op.integer("shared") != 0 ? 4 : 2);
    return {};
}

bool factor_can_wait(const LayerGraph& graph, const ModelFile& file, const PlanOptions& options,
                     ValueId normed) {
    std::vector<std::string> weights;
    for (const size_t user : users(graph, normed)) {
        const Op& op = graph.ops[user];
        const auto matrices = matrices_of_input(op);
        if (matrices.empty() || op.inputs[0] != normed) return false;
        weights.insert(weights.end(), matrices.begin(), matrices.end());
    }
    return !weights.empty() && takes_quantised(file, options, weights).has_value();
}

}  // namespace hetune
