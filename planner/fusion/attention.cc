// Decode of one token: norm and rope of q and k, KV write and attention as one op.
#include "planner/fusion/rewrite.h"
#include "planner/fusion/rule.h"

namespace hetune {
namespace {

// The chain that ends in `value`: linear -> [head_rmsnorm] -> rope.
struct Chain {
    ValueId start = kNoValue;
    Found<ops::Rope> rope;
    Found<ops::HeadRmsNorm> norm;
};

std::optional<Chain> chain_of(const FusedGraph& graph, ValueId value, size_t attention) {
    const auto rope = produced_by<ops::Rope>(graph, value);
    if (!rope || only_user(graph, value) != attention) return std::nullopt;
    Chain chain{.start = rope->x, .rope = rope, .norm = {}};
    const auto norm = produced_by<ops::HeadRmsNorm>(graph, chain.start);
    if (norm && only_user(graph, chain.start) == rope.at) {
        chain.norm = norm;
        chain.start = norm->x;
    }
    return chain;
}

bool fuse_attention_step(FusedGraph& graph, const PlanOptions& options, const ModelFile&) {
    if (!options.decodes()) return false;
    return rewrite_first<ops::Attention>(graph, [&](const Found<ops::Attention>& attention) {
        const auto q = chain_of(graph, attention->q, attention.at);
        const auto k = chain_of(graph, attention->k, attention.at);
        if (!q || !k || static_cast<bool>(q->norm) != static_cast<bool>(k->norm)) return false;
        if (q->rope->rotary != k->rope->rotary) return false;
        ops::AttentionStep fused{.q = q->start,
                                 .k = k->start,
                                 .v = attention->v,
                                 .y = attention->y,
                                 .heads = attention->heads,
                                 .kv_heads = attention->kv_heads,
                                 .head_size = attention->head_size,
                                 .scale = attention->scale,
                                 .kv = attention->kv,
                                 .rotary = q->rope->rotary,
                                 .interleaved = q->rope->interleaved};
        std::vector<size_t> others = {q->rope.at, k->rope.at};
        if (q->norm) {
            fused.eps = q->norm->eps;
            fused.q_norm = q->norm->weight;
            fused.k_norm = k->norm->weight;
            others.insert(others.end(), {q->norm.at, k->norm.at});
        }
        replace(graph, attention.at, std::move(fused), std::move(others));
        return true;
    });
}

// split_heads before, and sigmoid_mul behind.
bool fuse_gate(FusedGraph& graph, const PlanOptions&, const ModelFile&) {
    return rewrite_first<ops::AttentionStep>(
        graph, [&](const Found<ops::AttentionStep>& attention) {
            if (attention->gated) return false;
            const auto halves = produced_by<ops::SplitHeads>(graph, attention->q);
            const auto product = only_used_by<ops::SigmoidMul>(graph, attention->y);
            if (!halves || !product) return false;
            if (halves->a != attention->q || product->x != attention->y ||
                product->gate != halves->b || only_user(graph, halves->a) != attention.at ||
                only_user(graph, halves->b) != product.at)
                return false;
            ops::AttentionStep fused = *attention.op;
            fused.q = halves->x;
            fused.y = product->y;
            fused.gated = true;
            replace(graph, product.at, std::move(fused), {attention.at, halves.at});
            return true;
        });
}

const RegisterFusion kGateRule{{.name = "gate of attention",
                                .priority = 40,
                                .makes = {ops::AttentionStep::kKind},
                                .apply = fuse_gate}};
const RegisterFusion kRule{{.name = "attention of one token",
                            .priority = 50,
                            .makes = {ops::AttentionStep::kKind},
                            .apply = fuse_attention_step}};

}  // namespace
}  // namespace hetune
