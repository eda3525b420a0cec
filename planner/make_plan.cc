#include "planner/make_plan.h"

#include <algorithm>
#include <set>

#include "planner/fusion/fuse.h"
#include "planner/lower/plan_builder.h"
#include "planner/plan/device_sizes.h"
#include "planner/plan/tuning_space.h"

namespace hetune {
namespace {

// With all fusions but those that make an op of `unfused`. Throws NoKernelLeft.
Plan lower_without(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                   const PlanOptions& options, const std::map<int, OpTunables>& ops,
                   const std::set<std::string_view>& unfused) {
    const Fusion fusion = fuse(graph, file, options, unfused);
    PlanBuilder builder(fusion.graph, file, arch, options, ops);
    for (size_t i = 0; i < fusion.graph.ops.size(); ++i) builder.lower_op(i);
    builder.finish();
    builder.plan.notes = graph.notes;
    builder.plan.notes.insert(builder.plan.notes.end(), fusion.notes.begin(), fusion.notes.end());
    return std::move(builder.plan);
}

// The fusions and lowerings to leave out, as they were chosen for the plan of these options; null
// where none were. They decide how sums are rounded, so all kinds of decode step follow the choice
// for one row: a sequence's tokens must not depend on who shares its steps.
const std::set<std::string>* chosen_without(const LayerGraph& graph, const ModelFile& file,
                                            const Arch& arch, const PlanOptions& options,
                                            const Plan& plan) {
    const auto& choices = options.tunings.without;
    if (choices.empty()) return nullptr;
    std::string signature = plan_signature(plan);
    if (options.decodes() && options.rows > 1) {
        PlanOptions one = options;
        one.rows = one.sequences = 1;
        one.output = StepOutput::kLogits;
        signature = plan_signature(lower_graph(graph, file, arch, one, {}));
    }
    const auto found = choices.find(signature);
    return found == choices.end() ? nullptr : &found->second;
}

}  // namespace

Plan lower_graph(const LayerGraph& whole, const ModelFile& file, const Arch& arch,
                 const PlanOptions& options, const std::map<int, OpTunables>& ops) {
    LayerGraph graph = whole;
    if (options.output == StepOutput::kEachHidden) {
        graph.ops.pop_back();
        graph.logits = graph.hidden_states;
    }
    std::set<std::string_view> unfused;
    for (;;) try {
            return lower_without(graph, file, arch, options, ops, unfused);
        } catch (const NoKernelLeft& error) {
            if (!options.fusion || !is_fused(error.kind()) || !unfused.insert(error.kind()).second)
                throw;
        }
}

Plan make_plan(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
               const PlanOptions& options) {
    Plan plan = lower_graph(graph, file, arch, options, {});
    if (options.tunings.empty()) return plan;
    std::vector<std::string> tuned;

    PlanOptions chosen = options;
    if (const auto* without = chosen_without(graph, file, arch, options, plan)) {
        chosen.without.insert(without->begin(), without->end());
        plan = lower_graph(graph, file, arch, chosen, {});
        for (const std::string& name : *without) tuned.push_back("without " + name);
    }
    const auto ops = tunables_of_ops(plan, arch, options.tunings);
    if (!ops.empty()) {
        const std::vector<KernelSpec> before = plan.kernels;
        plan = lower_graph(graph, file, arch, chosen, ops);
        for (const KernelSpec& spec : plan.kernels)
            if (std::ranges::find(before, spec) == before.end()) tuned.push_back(spec.to_string());
    }
    plan.options = options;
    plan.tuned = std::move(tuned);
    return plan;
}

Plan make_sampler_plan(int64_t vocabulary, const Arch& arch, const PlanOptions& options,
                       bool loops) {
    int waves = arch.waves(16);
    if (const auto of = options.tunables.find("sample"); of != options.tunables.end())
        if (const auto value = of->second.find("kWaves"); value != of->second.end())
            waves = std::stoi(value->second);
    const auto spec = [&] {
        return KernelSpec{"sample",
                          {{"kVocabulary", constant(vocabulary)}, {"kWaves", constant(waves)}}};
    };
    for (; options.refused.contains(spec().to_string()); waves /= 2)
        if (waves == 1)
            throw ModelError("no kernel is left to draw tokens: " +
                             options.refused.at(spec().to_string()));
    Plan plan{.arch = arch.name, .options = options, .vocabulary = vocabulary};
    const int64_t rows = options.rows;
    plan.buffers = {{"logits", BufferRole::kLogits, rows * vocabulary * 4},
                    {"sampler", BufferRole::kSampler, kSamplerBytes},
                    {"step", BufferRole::kStep, step_bytes(rows)},
                    {"tokens", BufferRole::kTokens, rows * 4},
                    {"ring", BufferRole::kSampler, kTokenRingBytes}};
    plan.steps = {{.label = "sample",
                   .kernel = plan.add_kernel(spec()),
                   .args = {{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}},
                   .groups = {static_cast<uint32_t>(rows), 1, 1},
                   .threads = static_cast<uint32_t>(32 * waves),
                   .rows_axis = rows > 1 ? 0 : -1,
                   .cost = {.activation_bytes = rows * vocabulary * 4}}};
    const KernelSpec repeat{"repeat", {}};
    if (loops && !options.refused.contains(repeat.to_string())) {
        plan.buffers.push_back({"loop", BufferRole::kSampler, kLoopBytes});
        plan.steps.push_back(
            {.label = "repeat", .kernel = plan.add_kernel(repeat), .args = {{2, 0}, {5, 0}}});
    }
    plan.logits_buffer = 0;
    plan.step_buffer = 2;
    plan.tokens_buffer = 3;
    return plan;
}

}  // namespace hetune
