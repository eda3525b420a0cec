// Fusion rules by themselves: what they make of a graph, taken apart again, computes the same.
#include <doctest/doctest.h>

#include <set>

#include "planner/fusion/fuse.h"
#include "runtime/oracle/reference_engine.h"

namespace hetune {
namespace {

// Turns operations into primitive ones again, each fused kind by its description in fused_ops.h.
class TakeApart {
  public:
    TakeApart(const FusedGraph& fused, const ModelFile& file) : file_(file), graph_(fused.model) {
        graph_.ops.clear();
        for (const Op& op : fused.ops)
            std::visit([this](const auto& of_kind) { take_apart(of_kind); }, op);
    }
    LayerGraph take() { return std::move(graph_); }

  private:
    template <class T>
    void take_apart(const T& primitive) {
        graph_.ops.push_back(primitive);
    }
    void take_apart(const ops::EmbedNorm& op) {
        take_apart(ops::Embed{.y = op.y, .table = op.table});
        next_norm(op.y, op.next);
    }
    void take_apart(const ops::LinearFan& op) {
        for (const ops::FanProduct& of : op.products)
            take_apart(ops::Linear{.x = op.x, .y = of.y, .weight = of.weight, .bias = of.bias});
    }
    void take_apart(const ops::Swiglu& op) {
        const ValueId gate = product(op.x, op.gate, width(op.y));
        const ValueId up = product(op.x, op.up, width(op.y));
        take_apart(ops::SiluMul{.gate = gate, .up = up, .y = op.y});
    }
    void take_apart(const ops::LinearAdd& op) {
        const ValueId sum = product(op.x, op.weight, width(op.y));
        take_apart(ops::Add{.a = op.residual, .b = sum, .y = op.y});
    }
    void take_apart(const ops::LinearAddNorm& op) {
        take_apart(
            ops::LinearAdd{.x = op.x, .residual = op.residual, .y = op.y, .weight = op.weight});
        next_norm(op.y, op.next);
    }
    void take_apart(const ops::AttentionStep& op) {
        const int64_t q_width = op.heads * op.head_size;
        const ValueId gate = value(q_width), result = op.gated ? value(q_width) : ValueId{op.y.id};
        ValueId q = op.q;
        if (op.gated) {
            q = value(q_width);
            take_apart(ops::SplitHeads{
                .x = op.q, .a = q, .b = gate, .heads = op.heads, .head_size = op.head_size});
        }
        take_apart(ops::Attention{.q = turned(op, q, op.q_norm, op.heads),
                                  .k = turned(op, op.k, op.k_norm, op.kv_heads),
                                  .v = op.v,
                                  .y = result,
                                  .heads = op.heads,
                                  .kv_heads = op.kv_heads,
                                  .head_size = op.head_size,
                                  .scale = op.scale,
                                  .kv = op.kv});
        if (op.gated) take_apart(ops::SigmoidMul{.x = result, .gate = gate, .y = op.y});
    }
    void take_apart(const ops::DeltaStep& op) {
        const ValueId conv = value(width(op.qkv)), net = value(width(op.y));
        take_apart(ops::CausalConv{
            .x = op.qkv, .y = conv, .weight = op.conv, .taps = op.taps, .state = op.state});
        take_apart(ops::DeltaNet{.qkv = conv,
                                 .a = op.a,
                                 .b = op.b,
                                 .y = net,
                                 .ssm_a = op.ssm_a,
                                 .dt_bias = op.dt_bias,
                                 .key_heads = op.key_heads,
                                 .value_heads = op.value_heads,
                                 .key_size = op.key_size,
                                 .value_size = op.value_size,
                                 .eps = op.eps,
                                 .state = op.state});
        take_apart(ops::GatedRmsNorm{.x = net,
                                     .gate = op.gate,
                                     .y = op.y,
                                     .weight = op.norm,
                                     .heads = op.value_heads,
                                     .head_size = op.value_size,
                                     .eps = op.norm_eps});
    }
    void take_apart(const ops::MoeStep& op) {
        const int64_t hidden = width(op.y);
        const ValueId ids = value(op.used), shares = value(op.used);
        take_apart(ops::Router{.x = op.x,
                               .ids = ids,
                               .shares = shares,
                               .weight = op.router,
                               .experts = op.experts,
                               .used = op.used,
                               .renormalise = op.renormalise});
        ValueId sum = value(hidden);
        take_apart(ops::Experts{.x = op.x,
                                .ids = ids,
                                .shares = shares,
                                .y = sum,
                                .gate = op.gate,
                                .up = op.up,
                                .down = op.down,
                                .experts = op.experts,
                                .used = op.used});
        if (op.shared) {
            const ValueId routed = sum, shared = shared_expert(*op.shared, op.x, hidden);
            sum = value(hidden);
            take_apart(ops::Add{.a = routed, .b = shared, .y = sum});
        }
        take_apart(ops::Add{.a = op.residual, .b = sum, .y = op.y});
        if (op.next) next_norm(op.y, *op.next);
    }

    int64_t width(ValueId id) const { return graph_.values[static_cast<size_t>(id)].width; }
    ValueId value(int64_t width) { return graph_.add_value({"taken apart", width}); }
    void next_norm(ValueId x, const ops::NextNorm& norm) {
        take_apart(ops::RmsNorm{.x = x, .y = norm.y, .weight = norm.weight, .eps = norm.eps});
    }
    ValueId product(ValueId x, const ops::Weight& weight, int64_t rows) {
        return graph_.add(ops::Linear{.x = x, .weight = weight}, {"taken apart", rows});
    }
    // Norm, where there is one, and rotation of the heads of q or k.
    ValueId turned(const ops::AttentionStep& op, ValueId x, const ops::Weight& norm,
                   int64_t heads) {
        const Value like{"taken apart", heads * op.head_size};
        if (!norm.empty())
            x = graph_.add(ops::HeadRmsNorm{.x = x,
                                            .weight = norm,
                                            .heads = heads,
                                            .head_size = op.head_size,
                                            .eps = op.eps},
                           like);
        return graph_.add(ops::Rope{.x = x,
                                    .heads = heads,
                                    .head_size = op.head_size,
                                    .rotary = op.rotary,
                                    .interleaved = op.interleaved},
                          like);
    }
    ValueId shared_expert(const ops::SharedExpert& expert, ValueId x, int64_t hidden) {
        const int64_t inner = file_.tensor(expert.gate).rows();
        const ValueId gate = product(x, expert.gate, inner), up = product(x, expert.up, inner);
        const ValueId act =
            graph_.add(ops::SiluMul{.gate = gate, .up = up}, {"taken apart", inner});
        const ValueId y = product(act, expert.down, hidden);
        if (expert.share.empty()) return y;
        return graph_.add(ops::ScaleBySigmoid{.x = y, .gate = product(x, expert.share, 1)},
                          {"taken apart", hidden});
    }

    const ModelFile& file_;
    LayerGraph graph_;
};

// The kinds of fused operations that a model's graph gets.
std::set<std::string_view> check_fusion(const std::string& model, const PlanOptions& options) {
    const ModelFile file(std::string(HETUNE_TEST_MODELS) + "/" + model);
    const LayerGraph graph = build_layer_graph(file);
    const FusedGraph fused = fuse(graph, file, options).graph;
    CHECK(fused.ops.size() < graph.ops.size());
    ReferenceEngine oracle(file, graph, 32), of_fused(file, TakeApart(fused, file).take(), 32);
    const std::vector<int32_t> tokens = {32, 113, 24, 7, 99, 3, 3, 150, 8};
    CHECK(oracle_logits(oracle, tokens) == oracle_logits(of_fused, tokens));
    std::set<std::string_view> kinds;
    for (const Op& op : fused.ops)
        if (is_fused(kind_of(op))) kinds.insert(kind_of(op));
    return kinds;
}

TEST_CASE("a fused graph, taken apart, gives the oracle's logits bit for bit") {
    std::set<std::string_view> kinds;
    for (const char* model : {"tiny-Q4_K_M.gguf", "mini35-Q4_K_M.gguf"})
        for (const PlanOptions& options : {PlanOptions{}, PlanOptions{.rows = 64, .matrix = true}})
            kinds.merge(check_fusion(model, options));
    CHECK(kinds.size() == std::variant_size_v<FusedOp>);
}

}  // namespace
}  // namespace hetune
