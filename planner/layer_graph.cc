#include "planner/layer_graph.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cassert>

namespace hetune {
namespace {

using Builders = std::map<std::string, std::function<LayerGraph(const ModelFile&)>>;

Builders& builders() {
    static Builders map;
    return map;
}

}  // namespace

double Op::attribute(const std::string& name) const {
    const auto found = attributes.find(name);
    assert(found != attributes.end());
    return found->second;
}

int64_t Op::integer(const std::string& name) const { return static_cast<int64_t>(attribute(name)); }

ValueId LayerGraph::add_value(std::string name, int64_t width) {
    values.push_back({std::move(name), width});
    return static_cast<ValueId>(values.size()) - 1;
}

ValueId LayerGraph::add_op(Op op, std::string output_name, int64_t width) {
    const ValueId output = add_value(std::move(output_name), width);
    op.outputs.push_back(output);
    ops.push_back(std::move(op));
    return output;
}

int LayerGraph::count(std::string_view kind) const {
    return static_cast<int>(std::ranges::count(ops, kind, &Op::kind));
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
    const std::string architecture = file.get_string("general.architecture");
    const auto found = builders().find(architecture);
    if (found == builders().end())
        throw ModelError(fmt::format("{}: unknown architecture '{}'; known: {}",
                                     file.path().string(), architecture,
                                     fmt::join(known_architectures(), ", ")));
    LayerGraph graph = found->second(file);
    graph.architecture = architecture;
    graph.name = file.get_string("general.name", "");
    return graph;
}

}  // namespace hetune
