#include "planner/fusion/fuse.h"

#include <algorithm>

#include "planner/fusion/rule.h"

namespace hetune {

Fusion fuse(const LayerGraph& model, const ModelFile& file, const PlanOptions& options,
            const std::set<std::string_view>& unfused) {
    Fusion fusion{.graph = FusedGraph(model), .notes = {}};
    if (!options.fusion) return fusion;
    for (const FusionRule& rule : fusion_rules()) {
        if (options.without.contains(rule.name)) continue;
        if (std::ranges::any_of(rule.makes,
                                [&](std::string_view kind) { return unfused.contains(kind); })) {
            fusion.notes.push_back(rule.name + ": left out, since its kernels are refused");
            continue;
        }
        int applied = 0;
        while (rule.apply(fusion.graph, options, file)) ++applied;
        if (applied > 0) fusion.notes.push_back(rule.name + " x" + std::to_string(applied));
    }
    return fusion;
}

bool is_fused(std::string_view kind) {
    return std::ranges::any_of(fusion_rules(), [&](const FusionRule& rule) {
        return std::ranges::find(rule.makes, kind) != rule.makes.end();
    });
}

}  // namespace hetune
