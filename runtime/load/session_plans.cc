#include "runtime/load/session_plans.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "planner/make_plan.h"

namespace hetune {
namespace {

std::vector<KernelSpec> list_of(const std::set<KernelSpec>& set) {
    return {set.begin(), set.end()};
}

}  // namespace

std::vector<KernelSpec> SessionPlans::kernels() const {
    std::set<KernelSpec> set(sampler.kernels.begin(), sampler.kernels.end());
    for (const Plan& plan : steps) set.insert(plan.kernels.begin(), plan.kernels.end());
    return list_of(set);
}

std::vector<PlanBuffer> SessionPlans::buffers() const {
    std::map<std::string, PlanBuffer> by_name;
    for (const Plan& plan : steps)
        for (const PlanBuffer& buffer : plan.buffers) by_name.emplace(buffer.name, buffer);
    std::vector<PlanBuffer> list;
    for (auto& [name, buffer] : by_name) list.push_back(std::move(buffer));
    return list;
}

// Logits of every row: more would be gigabytes of them for a large vocabulary.
constexpr int kLogitsRows = 256;

int prefill_rows(const SessionOptions& options, const Arch& arch) {
    return options.prefill_rows > 0 ? options.prefill_rows : arch.prefill_rows;
}

int logits_rows(const SessionOptions& options, const Arch& arch) {
    return std::min(prefill_rows(options, arch), kLogitsRows);
}

SessionPlans session_plans(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                           const SessionOptions& options) {
    // The trial of `sample` tells four favourites and their order from the rest.
    constexpr int64_t kLeastVocabulary = 16;
    if (graph.vocabulary < kLeastVocabulary)
        throw ModelError(fmt::format("{}: has a vocabulary of {} tokens; hetune needs {} or more",
                                     file.path().string(), graph.vocabulary, kLeastVocabulary));
    SessionPlans plans;
    const int rows = prefill_rows(options, arch);
    plans.steps = {session_step(graph, file, arch, options, 1, false),
                   session_step(graph, file, arch, options, rows, false)};
    if (options.all_logits)
        plans.steps.push_back(
            session_step(graph, file, arch, options, logits_rows(options, arch), true));
    plans.sampler = make_sampler_plan(graph.vocabulary, arch, plans.steps[0].options,
                                      options.loops.value_or(arch.has_graph_loops));
    return plans;
}

Plan session_step(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                  const SessionOptions& options, int rows, bool all_logits) {
    return make_plan(graph, file, arch,
                     {.rows = rows,
                      .fusion = options.fusion,
                      .activations = options.activations,
                      .kv = options.kv,
                      .all_logits = all_logits,
                      .matrix = options.matrix.value_or(arch.has_matrix),
                      .tunables = options.tunables,
                      .tunings = options.tunings,
                      .refused = options.refused});
}

std::vector<KernelSpec> kernels_of_sessions(const ModelFile& file, const Arch& arch,
                                            std::span<const SessionOptions> sessions) {
    const LayerGraph graph = build_layer_graph(file);
    std::set<KernelSpec> set;
    for (SessionOptions options : sessions) {
        options.all_logits = true;
        for (const bool fusion : {true, false}) {
            options.fusion = fusion;
            const auto kernels = session_plans(graph, file, arch, options).kernels();
            set.insert(kernels.begin(), kernels.end());
        }
    }
    return list_of(set);
}

}  // namespace hetune
