#include "planner/graph/layer_graph.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <span>
#include <utility>

namespace hetune {
namespace {

using Builders = std::map<std::string, std::function<LayerGraph(const ModelFile&)>>;

Builders& builders() {
    static Builders map;
    return map;
}

// What files of the GGUF format are that are no language models, by general.type.
constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
    {"adapter", "an adapter (LoRA) to a model; merge it into the model first"},
    {"mmproj", "the image or sound projector (mmproj) of a model, not the model itself"},
    {"imatrix", "an importance matrix for a quantiser"},
    {"vocab", "a vocabulary without a model"},
};

// The same by architecture, as far as the name is not enough.
constexpr std::pair<std::string_view, std::string_view> kKinds[] = {
    {"clip", "the image or sound projector (mmproj) of a model"},
    {"bert", "an encoder, for embeddings"},
    {"modern-bert", "an encoder, for embeddings"},
    {"neo-bert", "an encoder, for embeddings"},
    {"nomic-bert", "an encoder, for embeddings"},
    {"nomic-bert-moe", "an encoder, for embeddings"},
    {"jina-bert-v2", "an encoder, for embeddings"},
    {"jina-bert-v3", "an encoder, for embeddings"},
    {"eurobert", "an encoder, for embeddings"},
    {"gemma-embedding", "an encoder, for embeddings"},
    {"llama-embed", "an encoder, for embeddings"},
    {"t5encoder", "an encoder, for embeddings"},
    {"t5", "an encoder with a decoder"},
    {"dream", "a diffusion model of text"},
    {"llada", "a diffusion model of text"},
    {"llada-moe", "a diffusion model of text"},
    {"rnd1", "a diffusion model of text"},
    {"wavtokenizer-dec", "a decoder of sound"},
    {"flux", "a diffusion model of images"},
    {"sd1", "a diffusion model of images"},
    {"sd3", "a diffusion model of images"},
    {"sdxl", "a diffusion model of images"},
    {"aura", "a diffusion model of images"},
    {"lumina2", "a diffusion model of images"},
    {"qwen_image", "a diffusion model of images"},
    {"hidream", "a diffusion model of images"},
    {"ltxv", "a diffusion model of videos"},
    {"hyvid", "a diffusion model of videos"},
    {"wan", "a diffusion model of videos"},
    {"cosmos", "a diffusion model of videos"},
};

std::string_view find_text(std::span<const std::pair<std::string_view, std::string_view>> table,
                           std::string_view name) {
    const auto found =
        std::ranges::find(table, name, [](const auto& entry) { return entry.first; });
    return found == table.end() ? std::string_view() : found->second;
}

}  // namespace

void require_language_model(const ModelFile& file) {
    const auto fail = [&](const std::string& what) {
        throw ModelError(fmt::format("{}: {}", file.path().string(), what));
    };
    const std::string type = file.get_string("general.type", "model");
    if (const auto what = find_text(kTypes, type); !what.empty())
        fail(fmt::format("is {} (general.type '{}')", what, type));
    const std::string architecture = file.get_string("general.architecture");
    if (!builders().contains(architecture)) {
        const auto what = find_text(kKinds, architecture);
        fail(fmt::format("unknown architecture '{}'{}; known: {}", architecture,
                         what.empty() ? std::string() : fmt::format(" ({})", what),
                         fmt::join(known_architectures(), ", ")));
    }
    if (file.tensors().empty()) fail("has no tensors: it is a vocabulary without a model");
}

ValueId LayerGraph::add_value(Value value) {
    values.push_back(std::move(value));
    return static_cast<ValueId>(values.size()) - 1;
}

RegisterModel::RegisterModel(std::string architecture,
                             std::function<LayerGraph(const ModelFile&)> build) {
    builders().emplace(std::move(architecture), std::move(build));
}

std::vector<std::string> known_architectures() {
    std::vector<std::string> names;
    for (const auto& [name, build] : builders()) names.push_back(name);
    return names;
}

LayerGraph build_layer_graph(const ModelFile& file) {
    require_language_model(file);
    const std::string architecture = file.get_string("general.architecture");
    LayerGraph graph = builders().at(architecture)(file);
    graph.architecture = architecture;
    graph.name = file.get_string("general.name", "");
    return graph;
}

std::string require_all_used(const ModelFile& file, const LayerGraph& graph, bool allow) {
    if (graph.unused.empty()) return {};
    constexpr size_t kNamed = 8;
    const size_t named = std::min(graph.unused.size(), kNamed);
    std::string line = fmt::format("{}: nothing reads {}", file.path().string(),
                                   fmt::join(std::span(graph.unused).first(named), ", "));
    if (named < graph.unused.size())
        line += fmt::format(" and {} more", graph.unused.size() - named);
    if (allow) return line + "; the answers may differ from what the model was made for";
    throw ModelError(
        line +
        "; the model would compute something else (ModelOptions::allow_unused goes on without)");
}

}  // namespace hetune
