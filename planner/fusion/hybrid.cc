// Decode of one token in hybrid and mixture-of-experts layers.
#include <algorithm>

#include "kernel_templates/quant/registry.h"
#include "planner/fusion/rewrite.h"
#include "planner/fusion/rule.h"

namespace hetune {
namespace {

bool fuse_delta_step(FusedGraph& graph, const PlanOptions& options, const ModelFile&) {
    if (!options.decodes()) return false;
    return rewrite_first<ops::GatedRmsNorm>(graph, [&](const Found<ops::GatedRmsNorm>& norm) {
        const auto net = produced_by<ops::DeltaNet>(graph, norm->x);
        if (!net || only_user(graph, norm->x) != norm.at) return false;
        const auto conv = produced_by<ops::CausalConv>(graph, net->qkv);
        if (!conv || only_user(graph, net->qkv) != net.at) return false;
        replace(graph, norm.at,
                ops::DeltaStep{.qkv = conv->x,
                               .a = net->a,
                               .b = net->b,
                               .gate = norm->gate,
                               .y = norm->y,
                               .conv = conv->weight,
                               .ssm_a = net->ssm_a,
                               .dt_bias = net->dt_bias,
                               .norm = norm->weight,
                               .taps = conv->taps,
                               .key_heads = net->key_heads,
                               .value_heads = net->value_heads,
                               .key_size = net->key_size,
                               .value_size = net->value_size,
                               .eps = net->eps,
                               .norm_eps = norm->eps,
                               .state = net->state},
                {net.at, conv.at});
        return true;
    });
}

// A product without bias that is read by `reader` alone.
Found<ops::Linear> product_for(const FusedGraph& graph, ValueId value, size_t reader) {
    const auto product = produced_by<ops::Linear>(graph, value);
    if (!product || !product->bias.empty() || only_user(graph, value) != reader) return {};
    return product;
}

// The chain of primitives of a shared expert.
struct SharedChain {
    ops::SharedExpert expert;
    std::vector<size_t> ops;
};

std::optional<SharedChain> shared_expert(const FusedGraph& graph, const ModelFile& file,
                                         ValueId value, ValueId x, size_t reader) {
    SharedChain shared;
    if (only_user(graph, value) != reader) return std::nullopt;
    if (const auto scale = produced_by<ops::ScaleBySigmoid>(graph, value)) {
        const auto share = product_for(graph, scale->gate, scale.at);
        if (!share || share->x != x) return std::nullopt;
        shared.expert.share = share->weight;
        if (file.tensor(share->weight).type_name() != std::string_view("F32")) return std::nullopt;
        shared.ops = {scale.at, share.at};
        reader = scale.at;
        value = scale->x;
    }
    const auto down = product_for(graph, value, reader);
    if (!down) return std::nullopt;
    const auto mul = produced_by<ops::SiluMul>(graph, down->x);
    if (!mul || only_user(graph, down->x) != down.at) return std::nullopt;
    const auto gate = product_for(graph, mul->gate, mul.at);
    const auto up = product_for(graph, mul->up, mul.at);
    if (!gate || !up || gate->x != x || up->x != x) return std::nullopt;
    shared.expert.gate = gate->weight;
    shared.expert.up = up->weight;
    shared.expert.down = down->weight;
    shared.ops.insert(shared.ops.end(), {down.at, mul.at, gate.at, up.at});
    return shared;
}

// The demands of moe_step's kernels on a mixture: formats that take activations in one form, and
// whole tiles of each expert and of the shared one.
bool moe_step_fits(const FusedGraph& graph, const PlanOptions& options, const ModelFile& file,
                   const ops::MoeStep& moe) {
    std::vector<std::string> downs = {moe.down};
    if (moe.shared) downs.push_back(moe.shared->down);
    if (!takes_quantised(file, options, fused_product(moe)->weights) ||
        !takes_quantised(file, options, downs))
        return false;
    const auto whole = [&](const std::string& weight, int64_t parts) {
        return file.tensor(weight).rows() / parts % 32 == 0;
    };
    if (!whole(moe.gate, moe.experts) || !whole(moe.down, moe.experts)) return false;
    if (moe.shared && (!whole(moe.shared->gate, 1) || !whole(moe.shared->down, 1))) return false;
    return moe.used <= 32 && graph.model.values[static_cast<size_t>(moe.x.id)].width % 32 == 0;
}

bool fuse_moe_step(FusedGraph& graph, const PlanOptions& options, const ModelFile& file) {
    if (!options.decodes()) return false;
    return rewrite_first<ops::Experts>(graph, [&](const Found<ops::Experts>& experts) {
        const ValueId x = experts->x;
        const auto router = produced_by<ops::Router>(graph, experts->ids);
        const auto norm = produced_by<ops::RmsNorm>(graph, x);
        if (!router || router->x != x || !norm) return false;
        if (only_user(graph, experts->ids) != experts.at ||
            only_user(graph, experts->shares) != experts.at)
            return false;
        if (router->groups > 1 || !experts->gate_scale.empty()) return false;
        const ValueId h = norm->x;

        // experts -> [add of the shared expert] -> add of h
        auto add = only_used_by<ops::Add>(graph, experts->y);
        if (!add) return false;
        const auto other = [&](ValueId mine) -> ValueId {
            return add->a == mine ? add->b : add->a;
        };
        std::vector<size_t> others = {experts.at, router.at};
        std::optional<ops::SharedExpert> shared;
        if (other(experts->y) != h) {
            const auto chain = shared_expert(graph, file, other(experts->y), x, add.at);
            if (!chain) return false;
            shared = chain->expert;
            others.insert(others.end(), chain->ops.begin(), chain->ops.end());
            others.push_back(add.at);
            const ValueId sum = add->y;
            add = only_used_by<ops::Add>(graph, sum);
            if (!add || other(sum) != h) return false;
        }
        ops::MoeStep fused{.x = x,
                           .residual = h,
                           .y = add->y,
                           .gate = experts->gate,
                           .up = experts->up,
                           .down = experts->down,
                           .router = router->weight,
                           .norm = norm->weight,
                           .shared = shared,
                           .experts = router->experts,
                           .used = router->used,
                           .renormalise = router->renormalise};
        if (!moe_step_fits(graph, options, file, fused)) return false;
        replace(graph, add.at, std::move(fused), std::move(others));
        return true;
    });
}

// The norm behind, if its factor can wait for the readers.
bool fuse_moe_norm(FusedGraph& graph, const PlanOptions& options, const ModelFile& file) {
    return rewrite_first<ops::MoeStep>(graph, [&](const Found<ops::MoeStep>& moe) {
        if (moe->next) return false;
        const auto norm = used_by<ops::RmsNorm>(graph, moe->y, [&](const ops::RmsNorm& reader) {
            return factor_can_wait(graph, file, options, reader.y);
        });
        if (!norm) return false;
        ops::MoeStep fused = *moe.op;
        fused.next = ops::NextNorm{.y = norm->y, .weight = norm->weight, .eps = norm->eps};
        replace(graph, moe.at, std::move(fused), {norm.at});
        return true;
    });
}

const RegisterFusion kHybridRules[] = {
    RegisterFusion{{.name = "experts of one token",
                    .priority = 95,
                    .makes = {ops::MoeStep::kKind},
                    .apply = fuse_moe_step}},
    RegisterFusion{{.name = "experts and norm",
                    .priority = 65,
                    .makes = {ops::MoeStep::kKind},
                    .apply = fuse_moe_norm}},
    RegisterFusion{{.name = "delta net of one token",
                    .priority = 50,
                    .makes = {ops::DeltaStep::kKind},
                    .apply = fuse_delta_step}},
};

}  // namespace
}  // namespace hetune
