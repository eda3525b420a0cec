#include "planner/fusion/rule.h"

#include <algorithm>
#include <utility>

namespace hetune {

std::vector<FusionRule>& fusion_rules() {
    static std::vector<FusionRule> list;
    return list;
}
RegisterFusion::RegisterFusion(FusionRule rule) {
    auto& rules = fusion_rules();
    rules.push_back(std::move(rule));
    std::ranges::stable_sort(rules, [](const FusionRule& a, const FusionRule& b) {
        return a.priority != b.priority ? a.priority > b.priority : a.name < b.name;
    });
}

}  // namespace hetune
