#include "runtime/load/model_plans.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "planner/make_plan.h"

namespace hetune {
namespace {

std::vector<KernelSpec> list_of(const std::set<KernelSpec>& set) {
    return {set.begin(), set.end()};
}

}  // namespace

std::vector<KernelSpec> ModelPlans::kernels() const {
    std::set<KernelSpec> set(sampler.kernels.begin(), sampler.kernels.end());
    for (const Plan& plan : steps) set.insert(plan.kernels.begin(), plan.kernels.end());
    return list_of(set);
}

std::vector<PlanBuffer> ModelPlans::buffers() const {
    std::map<std::string, PlanBuffer> by_name;
    for (const Plan& plan : steps)
        for (const PlanBuffer& buffer : plan.buffers) by_name.emplace(buffer.name, buffer);
    std::vector<PlanBuffer> list;
    for (auto& [name, buffer] : by_name) list.push_back(std::move(buffer));
    return list;
}

// Logits of every row: more would be gigabytes of them for a large vocabulary.
constexpr int kLogitsRows = 256;

StepKind prefill_step(const LoadOptions& options, const Arch& arch) {
    return {.rows = options.prefill_rows > 0 ? options.prefill_rows : arch.prefill_rows};
}

StepKind logits_step(const LoadOptions& options, const Arch& arch) {
    return {.rows = std::min(prefill_step(options, arch).rows, kLogitsRows),
            .logits = StepKind::Logits::kEach};
}

std::vector<StepKind> step_kinds(const LoadOptions& options, const Arch& arch) {
    std::vector<StepKind> kinds = {kDecodeStep, prefill_step(options, arch)};
    if (options.all_logits) kinds.push_back(logits_step(options, arch));
    return kinds;
}

const Plan& ModelPlans::of(const StepKind& kind) const {
    for (const Plan& plan : steps)
        if (plan.options.rows == kind.rows &&
            plan.options.all_logits == (kind.logits == StepKind::Logits::kEach))
            return plan;
    throw std::out_of_range(fmt::format("no plan for steps of {} rows", kind.rows));
}

ModelPlans model_plans(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                       const LoadOptions& options) {
    // The trial of `sample` tells four favourites and their order from the rest.
    constexpr int64_t kLeastVocabulary = 16;
    if (graph.vocabulary < kLeastVocabulary)
        throw ModelError(fmt::format("{}: has a vocabulary of {} tokens; hetune needs {} or more",
                                     file.path().string(), graph.vocabulary, kLeastVocabulary));
    ModelPlans plans;
    for (const StepKind& kind : step_kinds(options, arch))
        plans.steps.push_back(step_plan(graph, file, arch, options, kind));
    plans.sampler = make_sampler_plan(graph.vocabulary, arch, plans.steps[0].options,
                                      options.loops.value_or(arch.has_graph_loops));
    return plans;
}

Plan step_plan(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
               const LoadOptions& options, const StepKind& kind) {
    return make_plan(graph, file, arch,
                     {.rows = kind.rows,
                      .fusion = options.fusion,
                      .activations = options.activations,
                      .kv = options.kv,
                      .all_logits = kind.logits == StepKind::Logits::kEach,
                      .matrix = options.matrix.value_or(arch.has_matrix),
                      .tunables = options.tunables,
                      .tunings = options.tunings,
                      .refused = options.refused});
}

std::vector<KernelSpec> kernels_of_loads(const ModelFile& file, const Arch& arch,
                                         std::span<const LoadOptions> loads) {
    const LayerGraph graph = build_layer_graph(file);
    std::set<KernelSpec> set;
    for (LoadOptions options : loads) {
        options.all_logits = true;
        for (const bool fusion : {true, false}) {
            options.fusion = fusion;
            const auto kernels = model_plans(graph, file, arch, options).kernels();
            set.insert(kernels.begin(), kernels.end());
        }
    }
    return list_of(set);
}

}  // namespace hetune
