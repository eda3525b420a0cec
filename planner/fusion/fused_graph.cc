#include "planner/fusion/fused_graph.h"

namespace hetune {
namespace {

template <class... T>
constexpr bool are_operations(const std::variant<T...>*) {
    return (ops::Operation<T> && ...) && (ops::lists_all_members<T> && ...);
}
static_assert(are_operations(static_cast<const Op*>(nullptr)),
              "an operation has kKind, operator==, and members() that leaves none out");
static_assert(ops::lists_all_members<ops::NextNorm> && ops::lists_all_members<ops::FanProduct> &&
              ops::lists_all_members<ops::SharedExpert>);

}  // namespace

FusedGraph::FusedGraph(const LayerGraph& the_model) : model(the_model) {
    ops.reserve(model.ops.size());
    for (const PrimitiveOp& op : model.ops)
        std::visit([this](const auto& of_kind) { ops.emplace_back(of_kind); }, op);
}

}  // namespace hetune
