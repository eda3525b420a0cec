// Fusions around matrix products.
#include <algorithm>

#include "kernel_templates/quant/registry.h"
#include "planner/fusion/rewrite.h"
#include "planner/fusion/rule.h"

namespace hetune {
namespace {

constexpr size_t kFan = 4;

// Without a choice of rows last_row is the identity.
bool drop_last_row(FusedGraph& graph, const PlanOptions& options, const ModelFile&) {
    if (options.rows > 1 && !options.each_row()) return false;
    return rewrite_first<ops::LastRow>(graph, [&](const Found<ops::LastRow>& last) {
        const ValueId from = last->x, to = last->y;
        for (Op& op : graph.ops)
            ops::each<ops::Input>(op, [&](ops::Input& input) {
                if (input == to) input = from;
            });
        graph.ops.erase(graph.ops.begin() + static_cast<int64_t>(last.at));
        return true;
    });
}

bool whole_tiles(const ModelFile& file, const std::string& weight) {
    return file.tensor(weight).rows() % 32 == 0;
}

bool fuse_swiglu(FusedGraph& graph, const PlanOptions& options, const ModelFile& file) {
    return rewrite_first<ops::SiluMul>(graph, [&](const Found<ops::SiluMul>& mul) {
        const auto gate = produced_by<ops::Linear>(graph, mul->gate);
        const auto up = produced_by<ops::Linear>(graph, mul->up);
        if (!gate || !up || gate.at == up.at || gate->x != up->x) return false;
        if (!gate->bias.empty() || !up->bias.empty()) return false;
        if (only_user(graph, mul->gate) != mul.at || only_user(graph, mul->up) != mul.at)
            return false;
        ops::Swiglu fused{.x = gate->x, .y = mul->y, .gate = gate->weight, .up = up->weight};
        if (!takes_quantised(file, options, weights_of(fused)) || !whole_tiles(file, fused.gate))
            return false;
        replace(graph, mul.at, std::move(fused), {gate.at, up.at});
        return true;
    });
}

// Products with one normed input. One alone is a fan too, so that it can apply the norm's factor.
bool fuse_fan(FusedGraph& graph, const PlanOptions& options, const ModelFile& file) {
    if (options.by_matrix()) return false;
    return rewrite_first<ops::RmsNorm>(graph, [&](const Found<ops::RmsNorm>& norm) {
        ops::LinearFan fused{.x = norm->y};
        std::vector<size_t> fan;
        for (const size_t user : users(graph, norm->y)) {
            const auto linear = op_at<ops::Linear>(graph, user);
            if (!linear || fan.size() == kFan) continue;
            fan.push_back(user);
            fused.products.push_back(
                {.y = linear->y, .weight = linear->weight, .bias = linear->bias});
        }
        if (fan.empty()) return false;
        const bool alike = std::ranges::all_of(fused.products, [&](const ops::FanProduct& product) {
            return product.bias.empty() == fused.products[0].bias.empty();
        });
        if (!alike || !takes_quantised(file, options, fused_product(fused)->weights)) return false;
        replace(graph, fan[0], std::move(fused), {fan.begin() + 1, fan.end()});
        return true;
    });
}

// The norm that reads `value`, if its factor can wait for the readers.
Found<ops::RmsNorm> waiting_norm(const FusedGraph& graph, const PlanOptions& options,
                                 const ModelFile& file, ValueId value) {
    // Half rows need the whole row anyway, so that the norm is free where they are made.
    if (options.by_matrix()) return {};
    return used_by<ops::RmsNorm>(graph, value, [&](const ops::RmsNorm& norm) {
        return factor_can_wait(graph, file, options, norm.y);
    });
}

ops::NextNorm next_norm(const ops::RmsNorm& norm) {
    return {.y = norm.y, .weight = norm.weight, .eps = norm.eps};
}

bool fuse_linear_add(FusedGraph& graph, const PlanOptions& options, const ModelFile& file) {
    return rewrite_first<ops::Add>(graph, [&](const Found<ops::Add>& add) {
        const auto fuse = [&](ValueId product, ValueId residual) {
            const auto linear = produced_by<ops::Linear>(graph, product);
            if (!linear || !linear->bias.empty() || only_user(graph, product) != add.at ||
                !whole_tiles(file, linear->weight))
                return false;
            std::vector<size_t> others = {linear.at};
            const auto norm = waiting_norm(graph, options, file, add->y);
            if (norm) others.push_back(norm.at);
            Op fused = ops::LinearAdd{
                .x = linear->x, .residual = residual, .y = add->y, .weight = linear->weight};
            if (norm)
                fused = ops::LinearAddNorm{.x = linear->x,
                                           .residual = residual,
                                           .y = add->y,
                                           .weight = linear->weight,
                                           .next = next_norm(*norm.op)};
            replace(graph, add.at, std::move(fused), std::move(others));
            return true;
        };
        return fuse(add->b, add->a) || fuse(add->a, add->b);
    });
}

bool fuse_embed_norm(FusedGraph& graph, const PlanOptions& options, const ModelFile& file) {
    return rewrite_first<ops::Embed>(graph, [&](const Found<ops::Embed>& embed) {
        const auto norm = waiting_norm(graph, options, file, embed->y);
        if (!norm || graph.model.values[static_cast<size_t>(embed->y.id)].width % 32 != 0)
            return false;
        ops::EmbedNorm fused{.y = embed->y, .table = embed->table, .next = next_norm(*norm.op)};
        replace(graph, embed.at, std::move(fused), {norm.at});
        return true;
    });
}

const RegisterFusion kLinearRules[] = {
    RegisterFusion{{.name = "last row is the only one", .priority = 100, .apply = drop_last_row}},
    RegisterFusion{
        {.name = "swiglu", .priority = 90, .makes = {ops::Swiglu::kKind}, .apply = fuse_swiglu}},
    RegisterFusion{{.name = "products with one input",
                    .priority = 80,
                    .makes = {ops::LinearFan::kKind},
                    .apply = fuse_fan}},
    RegisterFusion{{.name = "product, residual and norm",
                    .priority = 70,
                    .makes = {ops::LinearAdd::kKind, ops::LinearAddNorm::kKind},
                    .apply = fuse_linear_add}},
    RegisterFusion{{.name = "embedding and norm",
                    .priority = 60,
                    .makes = {ops::EmbedNorm::kKind},
                    .apply = fuse_embed_norm}},
};

}  // namespace
}  // namespace hetune
