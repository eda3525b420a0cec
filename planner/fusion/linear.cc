// Fusions around matrix products. Fused ops, which only kernels know:
//   linear_fan    x -> y0..y3     W0.. [, bias0..]         y_i = W_i x (+ bias_i); attribute bias
//   swiglu        x -> y          Wg, Wu                   y = silu(Wg x) * (Wu x)
//   linear_add    x, h -> h'      W                        h' = W x + h
//   linear_add_norm x, h -> h', n W, norm;      eps        and n = rmsnorm(h')
//   embed_norm    -> h, n         token_embd, norm; eps    h and n = rmsnorm(h)
#include <algorithm>

#include "kernel_templates/quant/registry.h"
#include "planner/fusion/rewrite.h"
#include "planner/fusion/rule.h"

namespace hetune {
namespace {

constexpr size_t kFan = 4;

// Without a choice of rows last_row is the identity.
bool drop_last_row(LayerGraph& graph, const PlanOptions& options, const ModelFile&) {
    if (options.rows > 1 && !options.all_logits) return false;
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        if (graph.ops[i].kind != "last_row") continue;
        const ValueId from = graph.ops[i].inputs[0], to = graph.ops[i].outputs[0];
        for (const size_t user : users(graph, to))
            std::ranges::replace(graph.ops[user].inputs, to, from);
        graph.ops.erase(graph.ops.begin() + static_cast<int64_t>(i));
        return true;
    }
    return false;
}

bool whole_tiles(const ModelFile& file, const std::string& weight) {
    return file.tensor(weight).rows() % 32 == 0;
}

bool fuse_swiglu(LayerGraph& graph, const PlanOptions& options, const ModelFile& file) {
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        const Op& mul = graph.ops[i];
        if (mul.kind != "silu_mul") continue;
        const auto gate = producer(graph, mul.inputs[0]), up = producer(graph, mul.inputs[1]);
        if (!gate || !up || gate == up) continue;
        const Op &g = graph.ops[*gate], &u = graph.ops[*up];
        if (g.kind != "linear" || u.kind != "linear" || g.inputs != u.inputs) continue;
        if (g.weights.size() > 1 || u.weights.size() > 1) continue;
        if (only_user(graph, mul.inputs[0]) != i || only_user(graph, mul.inputs[1]) != i) continue;
        const std::vector<std::string> weights = {g.weights[0], u.weights[0]};
        if (!takes_quantised(file, options, weights) || !whole_tiles(file, weights[0])) continue;
        Op fused{.kind = "swiglu",
                 .inputs = g.inputs,
                 .outputs = mul.outputs,
                 .weights = weights,
                 .layer = mul.layer};
        replace(graph, i, std::move(fused), {*gate, *up});
        return true;
    }
    return false;
}

// Products with one normed input. One alone is a fan too, so that it can apply the norm's factor.
bool fuse_fan(LayerGraph& graph, const PlanOptions& options, const ModelFile& file) {
    if (options.by_matrix()) return false;
    for (const Op& norm : graph.ops) {
        if (norm.kind != "rmsnorm") continue;
        std::vector<size_t> fan;
        for (const size_t user : users(graph, norm.outputs[0]))
            if (graph.ops[user].kind == "linear" && fan.size() < kFan) fan.push_back(user);
        if (fan.empty()) continue;
        const bool bias = graph.ops[fan[0]].weights.size() > 1;
        Op fused{.kind = "linear_fan", .inputs = {norm.outputs[0]}, .layer = norm.layer};
        std::vector<std::string> biases;
        bool alike = true;
        for (const size_t i : fan) {
            const Op& op = graph.ops[i];
            alike = alike && (op.weights.size() > 1) == bias;
            fused.outputs.push_back(op.outputs[0]);
            fused.weights.push_back(op.weights[0]);
            if (op.weights.size() > 1) biases.push_back(op.weights[1]);
        }
        if (!alike || !takes_quantised(file, options, fused.weights)) continue;
        fused.weights.insert(fused.weights.end(), biases.begin(), biases.end());
        fused.attributes["bias"] = bias ? 1 : 0;
        replace(graph, fan[0], std::move(fused), {fan.begin() + 1, fan.end()});
        return true;
    }
    return false;
}

// The norm that reads `value`, if its factor can wait for the readers.
std::optional<size_t> waiting_norm(const LayerGraph& graph, const PlanOptions& options,
                                   const ModelFile& file, ValueId value) {
    // Half rows need the whole row anyway, so that the norm is free where they are made.
    if (options.by_matrix()) return std::nullopt;
    for (const size_t user : users(graph, value))
        if (graph.ops[user].kind == "rmsnorm" &&
            factor_can_wait(graph, file, options, graph.ops[user].outputs[0]))
            return user;
    return std::nullopt;
}

bool fuse_linear_add(LayerGraph& graph, const PlanOptions& options, const ModelFile& file) {
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        const Op add = graph.ops[i];
        if (add.kind != "add") continue;
        for (const size_t side : {size_t{1}, size_t{0}}) {
            const auto at = producer(graph, add.inputs[side]);
            if (!at || graph.ops[*at].kind != "linear" || graph.ops[*at].weights.size() > 1)
                continue;
            const Op& linear = graph.ops[*at];
            if (only_user(graph, add.inputs[side]) != i || !whole_tiles(file, linear.weights[0]))
                continue;
            Op fused{.kind = "linear_add",
                     .inputs = {linear.inputs[0], add.inputs[1 - side]},
                     .outputs = add.outputs,
                     .weights = linear.weights,
                     .layer = add.layer};
            std::vector<size_t> others = {*at};
            if (const auto norm = waiting_norm(graph, options, file, add.outputs[0])) {
                fused.kind = "linear_add_norm";
                fused.outputs.push_back(graph.ops[*norm].outputs[0]);
                fused.weights.push_back(graph.ops[*norm].weights[0]);
                fused.attributes["eps"] = graph.ops[*norm].attribute("eps");
                others.push_back(*norm);
            }
            replace(graph, i, std::move(fused), std::move(others));
            return true;
        }
    }
    return false;
}

bool fuse_embed_norm(LayerGraph& graph, const PlanOptions& options, const ModelFile& file) {
    for (size_t i = 0; i < graph.ops.size(); ++i) {
        if (graph.ops[i].kind != "embed") continue;
        const auto norm = waiting_norm(graph, options, file, graph.ops[i].outputs[0]);
        if (!norm || graph.values[static_cast<size_t>(graph.ops[i].outputs[0])].width % 32 != 0)
            continue;
        Op fused = graph.ops[i];
        fused.kind = "embed_norm";
        fused.outputs.push_back(graph.ops[*norm].outputs[0]);
        fused.weights.push_back(graph.ops[*norm].weights[0]);
        fused.attributes["eps"] = graph.ops[*norm].attribute("eps");
        replace(graph, i, std::move(fused), {*norm});
        return true;
    }
    return false;
}

const RegisterFusion kLinearRules[] = {
    RegisterFusion{{.name = "last row is the only one", .priority = 100, .apply = drop_last_row}},
    RegisterFusion{{.name = "swiglu", .priority = 90, .makes = {"swiglu"}, .apply = fuse_swiglu}},
    RegisterFusion{{.name = "products with one input",
                    .priority = 80,
                    .makes = {"linear_fan"},
                    .apply = fuse_fan}},
    RegisterFusion{{.name = "product, residual and norm",
                    .priority = 70,
                    .makes = {"linear_add", "linear_add_norm"},
                    .apply = fuse_linear_add}},
    RegisterFusion{{.name = "embedding and norm",
                    .priority = 60,
                    .makes = {"embed_norm"},
                    .apply = fuse_embed_norm}},
};

}  // namespace
}  // namespace hetune
