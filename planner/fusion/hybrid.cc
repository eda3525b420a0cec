// Decode of one token in hybrid and mixture-of-experts layers. Fused ops, which only kernels know:
//   delta_step  qkv, a, b, z -> y   conv, ssm_a, dt_bias, norm
//               causal_conv, delta_net and gated_rmsnorm; attributes of all three, norm_eps
//   moe_step    x, h -> h' [, n]    gate, up [, shared gate, shared up], down [, shared down],
//   router,
//               norm of x [, shared expert's gate] [, next norm]
//               h' = h + experts(x) + shared expert(x), x = rmsnorm(h), n = rmsnorm(h');
//               attributes of router and experts; shared, shared_gate: there is one; eps of n
#include <algorithm>

#include "kernel_templates/quant/registry.h"
#include "planner/fusion/rewrite.h"
#include "planner/fusion/rule.h"

namespace hetune {
namespace {

bool fuse_delta_step(LayerGraph& graph, const PlanOptions& options, const ModelFile&) {
    if (options.rows != 1) return false;
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        const Op norm = graph.ops[i];
        if (norm.kind != "gated_rmsnorm") continue;
        const auto net_at = producer(graph, norm.inputs[0]);
        if (!net_at || graph.ops[*net_at].kind != "delta_net" ||
            only_user(graph, norm.inputs[0]) != i)
            continue;
        const Op& net = graph.ops[*net_at];
        const auto conv_at = producer(graph, net.inputs[0]);
        if (!conv_at || graph.ops[*conv_at].kind != "causal_conv" ||
            only_user(graph, net.inputs[0]) != net_at)
            continue;
        const Op& conv = graph.ops[*conv_at];
        Op fused = net;
        fused.kind = "delta_step";
        fused.inputs = {conv.inputs[0], net.inputs[1], net.inputs[2], norm.inputs[1]};
        fused.outputs = norm.outputs;
        fused.weights = {conv.weights[0], net.weights[0], net.weights[1], norm.weights[0]};
        fused.attributes["taps"] = conv.attribute("taps");
        fused.attributes["norm_eps"] = norm.attribute("eps");
        replace(graph, i, std::move(fused), {*net_at, *conv_at});
        return true;
    }
    return false;
}

// The shared expert: down of silu(gate x) * up x, with a share that follows from x or without.
struct SharedExpert {
    std::string gate, up, down, share;
    std::vector<size_t> ops;
};

// A product without bias that is read by `reader` alone.
std::optional<size_t> product_for(const LayerGraph& graph, ValueId value, size_t reader) {
    const auto at = producer(graph, value);
    if (!at || graph.ops[*at].kind != "linear" || graph.ops[*at].weights.size() > 1)
        return std::nullopt;
    return only_user(graph, value) == reader ? at : std::nullopt;
}

std::optional<SharedExpert> shared_expert(const LayerGraph& graph, const ModelFile& file,
                                          ValueId value, ValueId x, size_t reader) {
    SharedExpert shared;
    auto at = producer(graph, value);
    if (!at || only_user(graph, value) != reader) return std::nullopt;
    if (graph.ops[*at].kind == "scale_by_sigmoid") {
        const Op& scale = graph.ops[*at];
        const auto share = product_for(graph, scale.inputs[1], *at);
        if (!share || graph.ops[*share].inputs[0] != x) return std::nullopt;
        shared.share = graph.ops[*share].weights[0];
        if (file.tensor(shared.share).type_name() != std::string_view("F32")) return std::nullopt;
        shared.ops = {*at, *share};
        reader = *at;
        value = scale.inputs[0];
    }
    const auto down = product_for(graph, value, reader);
    if (!down) return std::nullopt;
    const ValueId act = graph.ops[*down].inputs[0];
    const auto mul = producer(graph, act);
    if (!mul || graph.ops[*mul].kind != "silu_mul" || only_user(graph, act) != down)
        return std::nullopt;
    const auto gate = product_for(graph, graph.ops[*mul].inputs[0], *mul);
    const auto up = product_for(graph, graph.ops[*mul].inputs[1], *mul);
    if (!gate || !up || graph.ops[*gate].inputs[0] != x || graph.ops[*up].inputs[0] != x)
        return std::nullopt;
    shared.gate = graph.ops[*gate].weights[0];
    shared.up = graph.ops[*up].weights[0];
    shared.down = graph.ops[*down].weights[0];
    shared.ops.insert(shared.ops.end(), {*down, *mul, *gate, *up});
    return shared;
}

bool fuse_moe_step(LayerGraph& graph, const PlanOptions& options, const ModelFile& file) {
    if (options.rows != 1) return false;
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        const Op experts = graph.ops[i];
        if (experts.kind != "experts") continue;
        const ValueId x = experts.inputs[0];
        const auto router_at = producer(graph, experts.inputs[1]);
        const auto norm_at = producer(graph, x);
        if (!router_at || graph.ops[*router_at].kind != "router" ||
            graph.ops[*router_at].inputs[0] != x)
            continue;
        if (only_user(graph, experts.inputs[1]) != i || only_user(graph, experts.inputs[2]) != i)
            continue;
        if (!norm_at || graph.ops[*norm_at].kind != "rmsnorm") continue;
        const Op router = graph.ops[*router_at];
        if (router.integer("groups") > 1 || experts.weights.size() > 3) continue;
        const ValueId h = graph.ops[*norm_at].inputs[0];

        // experts -> [add of the shared expert] -> add of h
        auto add = only_user(graph, experts.outputs[0]);
        if (!add || graph.ops[*add].kind != "add") continue;
        const auto other = [&](ValueId mine) {
            const Op& op = graph.ops[*add];
            return op.inputs[0] == mine ? op.inputs[1] : op.inputs[0];
        };
        std::vector<size_t> others = {i, *router_at};
        std::optional<SharedExpert> shared;
        if (other(experts.outputs[0]) != h) {
            shared = shared_expert(graph, file, other(experts.outputs[0]), x, *add);
            if (!shared) continue;
            others.insert(others.end(), shared->ops.begin(), shared->ops.end());
            others.push_back(*add);
            const ValueId sum = graph.ops[*add].outputs[0];
            add = only_user(graph, sum);
            if (!add || graph.ops[*add].kind != "add" || other(sum) != h) continue;
        }
        Op fused{.kind = "moe_step",
                 .inputs = {x, h},
                 .outputs = graph.ops[*add].outputs,
                 .weights = {experts.weights[0], experts.weights[1]},
                 .attributes = {{"experts", router.attribute("experts")},
                                {"used", router.attribute("used")},
                                {"renormalise", router.attribute("renormalise")},
                                {"shared", shared ? 1.0 : 0.0},
                                {"shared_gate", shared && !shared->share.empty() ? 1.0 : 0.0}},
                 .layer = experts.layer};
        if (shared) fused.weights.insert(fused.weights.end(), {shared->gate, shared->up});
        std::vector<std::string> downs = {experts.weights[2]};
        if (shared) downs.push_back(shared->down);
        if (!takes_quantised(file, options, fused.weights) ||
            !takes_quantised(file, options, downs))
            continue;
        fused.weights.insert(fused.weights.end(), downs.begin(), downs.end());
        // Whole tiles: of each expert, and of the shared one.
        const int64_t count = experts.integer("experts");
        const auto whole = [&](const std::string& weight, int64_t parts) {
            return file.tensor(weight).rows() / parts % 32 == 0;
        };
        if (!whole(experts.weights[0], count) || !whole(experts.weights[2], count)) continue;
        if (shared && (!whole(shared->gate, 1) || !whole(shared->down, 1))) continue;
        if (router.integer("used") > 32 || graph.values[static_cast<size_t>(x)].width % 32 != 0)
            continue;
        fused.weights.push_back(router.weights[0]);
        fused.weights.push_back(graph.ops[*norm_at].weights[0]);
        if (shared && !shared->share.empty()) fused.weights.push_back(shared->share);
        replace(graph, *add, std::move(fused), std::move(others));
        return true;
    }
    return false;
}

// The norm behind, if its factor can wait for the readers.
bool fuse_moe_norm(LayerGraph& graph, const PlanOptions& options, const ModelFile& file) {
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        if (graph.ops[i].kind != "moe_step" || graph.ops[i].outputs.size() > 1) continue;
        for (const size_t user : users(graph, graph.ops[i].outputs[0])) {
            const Op norm = graph.ops[user];
            if (norm.kind != "rmsnorm" || !factor_can_wait(graph, file, options, norm.outputs[0]))
                continue;
            Op fused = graph.ops[i];
            fused.outputs.push_back(norm.outputs[0]);
            fused.weights.push_back(norm.weights[0]);
            fused.attributes["eps"] = norm.attribute("eps");
            replace(graph, i, std::move(fused), {user});
            return true;
        }
    }
    return false;
}

const RegisterFusion kHybridRules[] = {
    RegisterFusion{{.name = "experts of one token",
                    .priority = 95,
                    .makes = {"moe_step"},
                    .apply = fuse_moe_step}},
    RegisterFusion{{.name = "experts and norm",
                    .priority = 65,
                    .makes = {"moe_step"},
                    .apply = fuse_moe_norm}},
    RegisterFusion{{.name = "delta net of one token",
                    .priority = 50,
                    .makes = {"delta_step"},
                    .apply = fuse_delta_step}},
};

}  // namespace
}  // namespace hetune
