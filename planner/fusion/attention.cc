// Decode of one token: norm and rope of q and k, KV write and attention as one op, which only a
// kernel knows:
//   attention_step  q, k, v -> y  [q_norm, k_norm]   attributes of attention, head_rmsnorm and
//   rope;
//                   gated: q is what split_heads takes, and y is times the sigmoid of the other
//                   half
#include "planner/fusion/rewrite.h"
#include "planner/fusion/rule.h"

namespace hetune {
namespace {

// The chain that ends in `value`: linear -> [head_rmsnorm] -> rope.
struct Chain {
    ValueId start = -1;
    size_t rope = 0;
    std::optional<size_t> norm;
};

std::optional<Chain> chain_of(const LayerGraph& graph, ValueId value, size_t attention) {
    const auto rope = producer(graph, value);
    if (!rope || graph.ops[*rope].kind != "rope" || only_user(graph, value) != attention)
        return std::nullopt;
    Chain chain{.start = graph.ops[*rope].inputs[0], .rope = *rope};
    const auto norm = producer(graph, chain.start);
    if (norm && graph.ops[*norm].kind == "head_rmsnorm" && only_user(graph, chain.start) == *rope) {
        chain.norm = norm;
        chain.start = graph.ops[*norm].inputs[0];
    }
    return chain;
}

bool fuse_attention_step(LayerGraph& graph, const PlanOptions& options, const ModelFile&) {
    if (options.rows != 1) return false;
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        const Op attention = graph.ops[i];
        if (attention.kind != "attention") continue;
        const auto q = chain_of(graph, attention.inputs[0], i);
        const auto k = chain_of(graph, attention.inputs[1], i);
        if (!q || !k || q->norm.has_value() != k->norm.has_value()) continue;
        const Op &q_rope = graph.ops[q->rope], &k_rope = graph.ops[k->rope];
        if (q_rope.attribute("rotary") != k_rope.attribute("rotary")) continue;
        Op fused = attention;
        fused.kind = "attention_step";
        fused.inputs = {q->start, k->start, attention.inputs[2]};
        fused.attributes["rotary"] = q_rope.attribute("rotary");
        fused.attributes["interleaved"] = q_rope.attribute("interleaved");
        std::vector<size_t> others = {q->rope, k->rope};
        if (q->norm) {
            fused.attributes["eps"] = graph.ops[*q->norm].attribute("eps");
            fused.weights = {graph.ops[*q->norm].weights[0], graph.ops[*k->norm].weights[0]};
            others.insert(others.end(), {*q->norm, *k->norm});
        }
        replace(graph, i, std::move(fused), std::move(others));
        return true;
    }
    return false;
}

// split_heads before, and sigmoid_mul behind.
bool fuse_gate(LayerGraph& graph, const PlanOptions&, const ModelFile&) {
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        const Op attention = graph.ops[i];
        if (attention.kind != "attention_step" || attention.attributes.contains("gated")) continue;
        const auto split = producer(graph, attention.inputs[0]);
        const auto gate = only_user(graph, attention.outputs[0]);
        if (!split || graph.ops[*split].kind != "split_heads" || !gate ||
            graph.ops[*gate].kind != "sigmoid_mul")
            continue;
        const Op &halves = graph.ops[*split], &product = graph.ops[*gate];
        if (halves.outputs[0] != attention.inputs[0] || product.inputs[0] != attention.outputs[0] ||
            product.inputs[1] != halves.outputs[1] || only_user(graph, halves.outputs[0]) != i ||
            only_user(graph, halves.outputs[1]) != gate)
            continue;
        Op fused = attention;
        fused.inputs[0] = halves.inputs[0];
        fused.outputs = product.outputs;
        fused.attributes["gated"] = 1;
        replace(graph, *gate, std::move(fused), {i, *split});
        return true;
    }
    return false;
}

const RegisterFusion kGateRule{
    {.name = "gate of attention", .priority = 40, .makes = {"attention_step"}, .apply = fuse_gate}};
const RegisterFusion kRule{{.name = "attention of one token",
                            .priority = 50,
                            .makes = {"attention_step"},
                            .apply = fuse_attention_step}};

}  // namespace
}  // namespace hetune
