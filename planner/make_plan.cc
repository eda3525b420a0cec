// make_plan: the plan of the defaults, and where tunings say otherwise another one with those.
#include <algorithm>

#include "planner/lowering.h"
#include "planner/tuning_space.h"

namespace hetune {

Plan make_plan(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
               const PlanOptions& options) {
    Plan plan = lower_graph(graph, file, arch, options, {});
    if (options.tunings.empty()) return plan;
    std::vector<std::string> tuned;

    PlanOptions chosen = options;
    if (const auto found = options.tunings.without.find(plan_signature(plan));
        found != options.tunings.without.end()) {
        chosen.without.insert(found->second.begin(), found->second.end());
        plan = lower_graph(graph, file, arch, chosen, {});
        for (const std::string& name : found->second) tuned.push_back("without " + name);
    }
    const auto ops = tunables_of_ops(plan, arch, options.tunings);
    if (!ops.empty()) {
        const auto before = plan.kernels();
        plan = lower_graph(graph, file, arch, chosen, ops);
        for (const KernelSpec& spec : plan.kernels())
            if (std::ranges::find(before, spec) == before.end()) tuned.push_back(spec.to_string());
    }
    plan.options = options;
    plan.tuned = std::move(tuned);
    return plan;
}

}  // namespace hetune
