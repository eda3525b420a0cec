#include "runtime/replay.h"

#include <fmt/format.h>

#include <charconv>

#include "cache/error.h"
#include "planner/model_header.h"

namespace hetune {
namespace {

constexpr int kMaxRows = 4096;

struct RecordedPlan {
    int rows = 1;
    bool all_logits = false;
    SessionOptions options;
};

std::map<std::string, std::string> written(const RecordedPlan& plan) {
    return {{"phase", plan.all_logits  ? "all logits"
                      : plan.rows == 1 ? "decode"
                                       : "prefill"},
            {"rows", std::to_string(plan.rows)},
            {"fusion", plan.options.fusion ? "on" : "off"},
            {"activations", std::string(to_string(plan.options.activations))},
            {"kv", std::string(to_string(plan.options.kv))}};
}

// The one of `values` that `text` names.
template <class T>
T one_of(const std::string& text, std::initializer_list<T> values) {
    for (const T value : values)
        if (to_string(value) == text) return value;
    throw CacheError(fmt::format("'{}' is unknown", text));
}

RecordedPlan read(const std::map<std::string, std::string>& plan) {
    RecordedPlan read;
    const std::string& rows = plan.at("rows");
    const auto [end, error] = std::from_chars(rows.data(), rows.data() + rows.size(), read.rows);
    if (error != std::errc() || end != rows.data() + rows.size() || read.rows < 1 ||
        read.rows > kMaxRows)
        throw CacheError(fmt::format("'{}' rows", rows));
    read.all_logits = plan.at("phase") == "all logits";
    read.options.fusion = plan.at("fusion") == "on";
    read.options.activations =
        one_of(plan.at("activations"), {Activations::kQuantised, Activations::kFloat});
    read.options.kv = one_of(plan.at("kv"), {KvType::kF16, KvType::kBF16, KvType::kF32});
    // A plan with more to it is of a newer hetune, and not to be replayed by halves.
    if (written(read) != plan) throw CacheError("it is of another version of hetune");
    return read;
}

std::vector<KernelSpec> kernels_of_recipe(const Recipe& recipe, const Arch& arch) try {
    const RecordedPlan plan = read(recipe.plan);
    const ModelFile file(fmt::format("recipe of {}", recipe.model), recipe.header);
    const LayerGraph graph = build_layer_graph(file);
    const Plan step = session_step(graph, file, arch, plan.options, plan.rows, plan.all_logits);
    std::vector<KernelSpec> kernels = step.kernels();
    for (KernelSpec& spec : make_sampler_plan(graph.vocabulary, arch, step.options).kernels())
        kernels.push_back(std::move(spec));
    return kernels;
} catch (const std::out_of_range&) {
    throw CacheError(fmt::format("recipe of {}: its plan is incomplete", recipe.model));
} catch (const CacheError& error) {
    throw CacheError(fmt::format("recipe of {}: {}", recipe.model, error.what()));
}

}  // namespace

std::vector<Recipe> recipes_of_session(const ModelFile& file, const SessionOptions& options) {
    const auto header = planning_header(file);
    const std::string name = file.get_string("general.name", file.path().filename().string());
    std::vector<Recipe> recipes;
    const auto add = [&](int rows, bool all_logits) {
        recipes.push_back({name, written({rows, all_logits, options}), header});
    };
    add(1, false);
    add(options.prefill_rows, false);
    if (options.all_logits) add(options.prefill_rows, true);
    return recipes;
}

std::vector<KernelSpec> kernels_of_recipes(const std::vector<Recipe>& recipes, const Arch& arch) {
    std::map<std::string, KernelSpec> by_text;
    for (const Recipe& recipe : recipes)
        for (KernelSpec& spec : kernels_of_recipe(recipe, arch))
            by_text.emplace(spec.to_string(), std::move(spec));
    std::vector<KernelSpec> list;
    for (auto& [text, spec] : by_text) list.push_back(std::move(spec));
    return list;
}

}  // namespace hetune
