#include "runtime/load/model_plans.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
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
    std::set<KernelSpec> set;
    for (const auto* plans : {&steps, &samplers})
        for (const Plan& plan : *plans) set.insert(plan.kernels.begin(), plan.kernels.end());
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

// More would be gigabytes of logits for a large vocabulary.
constexpr int kLogitsRows = 256;

StepKind prefill_step(const LoadOptions& options, const Arch& arch) {
    return {.rows = options.prefill_rows > 0 ? options.prefill_rows : arch.prefill_rows};
}

StepKind logits_step(const LoadOptions& options, const Arch& arch) {
    return {.rows = std::min(prefill_step(options, arch).rows, kLogitsRows),
            .output = StepOutput::kEachLogits};
}

StepKind hidden_step(const LoadOptions& options, const Arch& arch) {
    return {.rows = prefill_step(options, arch).rows, .output = StepOutput::kEachHidden};
}

int state_checkpoints(const LoadOptions& options) {
    if (options.prefixes == Prefixes::kNone) return 0;
    return options.state_checkpoints < 0 ? 2 * options.sequences + 2 : options.state_checkpoints;
}

std::optional<StepKind> decode_step(int rows) {
    if (rows == 1) return kDecodeStep;
    if (rows < 1 || rows > kMostSequences || !std::has_single_bit(static_cast<unsigned>(rows)))
        return std::nullopt;
    return StepKind{.rows = rows, .sequences = rows, .output = StepOutput::kEachLogits};
}

std::vector<StepKind> decode_steps(const LoadOptions& options) {
    std::vector<StepKind> kinds = {kDecodeStep};
    while (options.fusion && kinds.back().rows < options.sequences)
        kinds.push_back(decode_step(2 * kinds.back().rows).value());
    return kinds;
}

PlanOptions with_kind(PlanOptions options, const StepKind& kind) {
    options.rows = kind.rows;
    options.sequences = kind.sequences;
    options.output = kind.output;
    return options;
}

bool serves_many(const Plan& plan) {
    constexpr std::string_view kOfOneSequence[] = {"attention_flash", "causal_conv", "delta_net",
                                                   "delta_net_chunk", "delta_net_matrix"};
    return std::ranges::none_of(plan.kernels, [&](const KernelSpec& spec) {
        return std::ranges::find(kOfOneSequence, spec.name) != std::end(kOfOneSequence);
    });
}

std::vector<StepKind> step_kinds(const LoadOptions& options, const Arch& arch) {
    std::vector<StepKind> kinds = decode_steps(options);
    kinds.push_back(prefill_step(options, arch));
    if (options.all_logits) kinds.push_back(logits_step(options, arch));
    if (options.hidden_states) kinds.push_back(hidden_step(options, arch));
    return kinds;
}

const Plan& ModelPlans::of(const StepKind& kind) const {
    for (const Plan& plan : steps)
        if (plan.options.rows == kind.rows && plan.options.sequences == kind.sequences &&
            plan.options.output == kind.output)
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
    const size_t decoding = decode_steps(options).size();
    const std::vector<StepKind> kinds = step_kinds(options, arch);
    for (size_t i = 0; i < kinds.size(); ++i) {
        const StepKind& kind = kinds[i];
        Plan plan = step_plan(graph, file, arch, options, kind);
        if (i < decoding) {
            // Its sequences take turns, by steps of one row.
            if (kind.rows > 1 && !serves_many(plan)) continue;
            const bool loops = kind.rows == 1 && options.loops.value_or(arch.has_graph_loops);
            plans.samplers.push_back(
                make_sampler_plan(graph.vocabulary, arch, plan.options, loops));
        }
        plans.steps.push_back(std::move(plan));
    }
    return plans;
}

Plan step_plan(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
               const LoadOptions& options, const StepKind& kind) {
    return make_plan(graph, file, arch,
                     with_kind({.fusion = options.fusion,
                                .activations = options.activations,
                                .kv = options.kv,
                                .matrix = options.matrix.value_or(arch.has_matrix),
                                .tunables = options.tunables,
                                .tunings = options.tunings,
                                .refused = options.refused},
                               kind));
}

std::vector<KernelSpec> kernels_of_loads(const ModelFile& file, const Arch& arch,
                                         std::span<const LoadOptions> loads) {
    const LayerGraph graph = build_layer_graph(file);
    std::set<KernelSpec> set;
    for (LoadOptions options : loads) {
        options.all_logits = options.hidden_states = true;
        for (const bool fusion : {true, false}) {
            options.fusion = fusion;
            const auto kernels = model_plans(graph, file, arch, options).kernels();
            set.insert(kernels.begin(), kernels.end());
        }
    }
    return list_of(set);
}

}  // namespace hetune
