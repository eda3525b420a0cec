// Decode of one token: norm and rope of q and k, KV write and attention as one op, which only a
// kernel knows:
//   attention_step  q, k, v -> y  [q_norm, k_norm]   attributes of attention, head_rmsnorm and rope
#include "planner/fusion/rewrite.h"
#include "planner/lowering.h"

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
    if (!rope || graph.ops[*rope].kind != "rope" || only_user(graph, value) != attention) return std::nullopt;
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

const RegisterFusion kRule{{.name = "attention of one token", .priority = 50, .apply = fuse_attention_step}};

}  // namespace
}  // namespace hetune
