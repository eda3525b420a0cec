#include "runtime/engine/recipes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cache/error.h"
#include "planner/file/model_header.h"
#include "planner/make_plan.h"

namespace hetune {
namespace {

constexpr int kMaxRows = 4096;

struct RecordedPlan {
    enum class Phase { kDecode, kPrefill, kAllLogits, kHiddenStates };
    Phase phase = Phase::kDecode;
    LoadOptions options;
};

constexpr const char* kPhases[] = {"decode", "prefill", "all logits", "hidden states"};
constexpr const char* kDefaultRows = "default";  // as many as suit the arch

std::map<std::string, std::string> written(const RecordedPlan& plan) {
    using enum RecordedPlan::Phase;
    const int rows = plan.phase == kDecode ? 1 : plan.options.prefill_rows;
    std::map<std::string, std::string> text = {
        {"phase", kPhases[static_cast<size_t>(plan.phase)]},
        {"rows", rows == 0 ? kDefaultRows : std::to_string(rows)},
        {"fusion", plan.options.fusion ? "on" : "off"},
        {"activations", std::string(to_string(plan.options.activations))},
        {"kv", std::string(to_string(plan.options.kv))}};
    if (plan.phase == kDecode && plan.options.sequences > 1)
        text["sequences"] = std::to_string(plan.options.sequences);
    return text;
}

int rows_in(const std::string& text) {
    if (text == kDefaultRows) return 0;
    int rows = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rows);
    if (error != std::errc() || end != text.data() + text.size() || rows < 1 || rows > kMaxRows)
        throw CacheError(fmt::format("'{}' rows", text));
    return rows;
}

RecordedPlan read(const std::map<std::string, std::string>& plan) {
    RecordedPlan read;
    using enum RecordedPlan::Phase;
    for (const auto phase : {kPrefill, kAllLogits, kHiddenStates})
        if (plan.at("phase") == kPhases[static_cast<size_t>(phase)]) read.phase = phase;
    if (const int rows = rows_in(plan.at("rows")); read.phase != kDecode)
        read.options.prefill_rows = rows;
    if (const auto sequences = plan.find("sequences"); sequences != plan.end())
        read.options.sequences = std::min(rows_in(sequences->second), kMostSequences);
    read.options.fusion = plan.at("fusion") == "on";
    read.options.activations = plan.at("activations") == to_string(Activations::kFloat)
                                   ? Activations::kFloat
                                   : Activations::kQuantised;
    if (std::ranges::count(kv_type_names(), plan.at("kv")) > 0)
        read.options.kv = kv_type(plan.at("kv"));
    // A plan with more to it is of a newer hetune, and not to be replayed by halves.
    if (written(read) != plan) throw CacheError("it is of another version of hetune");
    return read;
}

std::set<KernelSpec> kernels_of_recipe(const Recipe& recipe, const Arch& arch,
                                       const std::map<std::string, std::string>& refused) try {
    RecordedPlan plan = read(recipe.plan);
    plan.options.refused = refused;
    const ModelFile file(fmt::format("recipe of {}", recipe.model), recipe.header);
    const LayerGraph graph = build_layer_graph(file);
    using enum RecordedPlan::Phase;
    std::vector<StepKind> kinds;
    switch (plan.phase) {
        case kDecode:
            kinds = decode_steps(plan.options);
            break;
        case kPrefill:
            kinds = {prefill_step(plan.options, arch)};
            break;
        case kAllLogits:
            kinds = {logits_step(plan.options, arch)};
            break;
        case kHiddenStates:
            kinds = {hidden_step(plan.options, arch)};
            break;
    }
    std::set<KernelSpec> kernels;
    for (const StepKind& kind : kinds) {
        const Plan step = step_plan(graph, file, arch, plan.options, kind);
        if (kind.sequences > 1 && !serves_many(step)) continue;
        kernels.insert(step.kernels.begin(), step.kernels.end());
        const Plan sampler =
            make_sampler_plan(graph.vocabulary, arch, step.options, arch.has_graph_loops);
        kernels.insert(sampler.kernels.begin(), sampler.kernels.end());
    }
    return kernels;
} catch (const std::out_of_range&) {
    throw CacheError(fmt::format("recipe of {}: its plan is incomplete", recipe.model));
} catch (const CacheError& error) {
    throw CacheError(fmt::format("recipe of {}: {}", recipe.model, error.what()));
}

}  // namespace

std::vector<Recipe> recipes_of_load(const ModelFile& file, const LoadOptions& options) {
    const auto header = planning_header(file);
    const std::string name = file.get_string("general.name", file.path().filename().string());
    std::vector<Recipe> recipes;
    using enum RecordedPlan::Phase;
    std::vector phases = {kDecode, kPrefill};
    if (options.all_logits) phases.push_back(kAllLogits);
    if (options.hidden_states) phases.push_back(kHiddenStates);
    for (const auto phase : phases) recipes.push_back({name, written({phase, options}), header});
    return recipes;
}

std::vector<KernelSpec> kernels_of_recipes(const std::vector<Recipe>& recipes, const Arch& arch,
                                           const std::map<std::string, std::string>& refused) {
    std::set<KernelSpec> set;
    for (const Recipe& recipe : recipes) set.merge(kernels_of_recipe(recipe, arch, refused));
    return {set.begin(), set.end()};
}

}  // namespace hetune
