#include "planner/fusion/graph_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <concepts>

namespace hetune {
namespace {

// Outputs, and all other members as "name: value".
struct OpTexts {
    const LayerGraph& model;
    std::vector<std::string> outputs = {}, others = {};

    const std::string& value(ValueId id) const {
        return model.values[static_cast<size_t>(id)].name;
    }
    void add(const std::string&, ops::Output output) { outputs.push_back(value(output)); }
    void add(const std::string& name, ops::Input input) { others.push_back(name + value(input)); }
    void add(const std::string& name, const ops::Weight& weight) {
        if (!weight.empty()) others.push_back(name + weight.name);
    }
    void add(const std::string& name, double number) {
        others.push_back(fmt::format("{}{:.6g}", name, number));
    }
    template <std::integral Number>
    void add(const std::string& name, Number number) {
        others.push_back(fmt::format("{}{}", name, number));
    }
};

}  // namespace

std::string op_text(const LayerGraph& model, const Op& op) {
    OpTexts texts{.model = model};
    ops::each_member(op, [&](std::string_view part, std::string_view name, const auto& member) {
        texts.add(fmt::format("{}{}{}: ", part, part.empty() ? "" : ".", name), member);
    });
    return fmt::format("{} = {}({})", fmt::join(texts.outputs, ", "), kind_of(op),
                       fmt::join(texts.others, ", "));
}

std::string graph_text(const FusedGraph& graph) {
    std::string text;
    for (const Op& op : graph.ops) text += op_text(graph.model, op) + "\n";
    return text;
}

}  // namespace hetune
