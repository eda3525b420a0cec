// Members that all operations share, their text form, and that trials know all their kernels.
#include <doctest/doctest.h>

#include <map>
#include <set>
#include <sstream>

#include "planner/fusion/fuse.h"
#include "planner/fusion/graph_text.h"
#include "planner/lower/plan_builder.h"
#include "runtime/trial/certifier.h"
#include "tests/cache/test_folder.h"
#include "tests/planner/small_model.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

TEST_CASE("inputs, outputs and weights of an operation are those of all its members and parts") {
    const Op op =
        ops::MoeStep{.x = 1,
                     .residual = 2,
                     .y = 3,
                     .gate = {"gate"},
                     .up = {"up"},
                     .down = {"down"},
                     .router = {"router"},
                     .norm = {"norm"},
                     .shared = ops::SharedExpert{.gate = {"g"}, .up = {"u"}, .down = {"d"}},
                     .next = ops::NextNorm{.y = 4, .weight = {"next"}}};
    CHECK(kind_of(op) == "moe_step");
    CHECK(inputs_of(op) == std::vector<ValueId>{1, 2});
    CHECK(outputs_of(op) == std::vector<ValueId>{3, 4});
    CHECK(weights_of(op) == std::vector<std::string>{"gate", "up", "down", "router", "norm", "g",
                                                     "u", "d", "next"});  // no share
    CHECK(reads(op, 2));
    CHECK_FALSE(reads(op, 3));
    CHECK(makes(op, 4));
    CHECK_FALSE(makes(op, 1));
}

// Operations of a small model on an arch, by line.
std::vector<std::string> lines_of(const PlanOptions& options) {
    const TestFolder folder;
    const auto path = folder.path() / "small.gguf";
    small_model(8).write(path);
    const ModelFile file(path, ModelFile::Open::kHeaderOnly);
    const LayerGraph graph = build_layer_graph(file);
    std::istringstream text(graph_text(fuse(graph, file, options).graph));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
}

TEST_CASE("the text of a graph has an operation a line: outputs, kind, members with their names") {
    const auto primitive = lines_of({.fusion = false});
    CHECK(primitive.size() == 21);
    CHECK(primitive.at(1) ==
          "blk.0.attn_norm = rmsnorm(x: embed, weight: blk.0.attn_norm.weight, eps: 1e-06)");
    CHECK(primitive.at(9) ==
          "blk.0.attn = attention(q: blk.0.attn_q_norm.rope, k: blk.0.attn_k_norm.rope, "
          "v: blk.0.attn_v, heads: 2, kv_heads: 1, head_size: 32, scale: 0.176777, kv: 0)");
    // Members of a part have its name before theirs.
    const auto fused = lines_of({});
    CHECK(fused.size() == 7);
    CHECK(fused.at(0) ==
          "embed, blk.0.attn_norm = embed_norm(table: token_embd.weight, "
          "next.weight: blk.0.attn_norm.weight, next.eps: 1e-06)");
    CHECK(fused.at(1) ==
          "blk.0.attn_q, blk.0.attn_k, blk.0.attn_v = linear_fan(x: blk.0.attn_norm, "
          "products.weight: blk.0.attn_q.weight, products.weight: blk.0.attn_k.weight, "
          "products.weight: blk.0.attn_v.weight)");
    CHECK(fused.at(4) ==
          "blk.0.ffn_act = swiglu(x: blk.0.ffn_norm, gate: blk.0.ffn_gate.weight, "
          "up: blk.0.ffn_up.weight)");
}

// The kernels of each operation alone, among those that its trials know.
void check_trials(const ModelFile& file, const Arch& arch, PlanOptions options) {
    const LayerGraph graph = build_layer_graph(file);
    options.matrix = arch.has_matrix;
    const FusedGraph fused = fuse(graph, file, options).graph;
    std::set<std::string_view> forms;
    for (const Certifier& certifier : form_certifiers()) forms.insert(certifier.kernel);
    const std::map<int, OpTunables> untuned;
    PlanBuilder builder(fused, file, arch, options, untuned);
    for (size_t i = 0; i < fused.ops.size(); ++i) {
        std::set<std::string_view> known = forms;
        std::visit(
            [&](const auto& op) {
                for (const Certifier& certifier : certifiers(op)) known.insert(certifier.kernel);
            },
            fused.ops[i]);
        const size_t first = builder.plan.steps.size();
        builder.lower_op(i);
        CAPTURE(op_text(graph, fused.ops[i]));
        for (size_t step = first; step < builder.plan.steps.size(); ++step) {
            const std::string& kernel = builder.plan.spec(builder.plan.steps[step]).name;
            CHECK_MESSAGE(known.contains(kernel), kernel);
        }
    }
}

TEST_CASE("an operation is lowered to kernels that its trials know, and no other") {
    const TestFolder folder;
    const auto path = folder.path() / "shape.gguf";
    for (const char* like : {"qwen3.6-35b-a3b", "qwen3.6-27b", "qwen3-30b-a3b", "llama3-8b"}) {
        ModelShape shape = find_shape(like);
        shape.layers = 4;
        write_synthetic(shape, {.header_only = true}, path);
        const ModelFile file(path, ModelFile::Open::kHeaderOnly);
        for (const char* arch : {"gfx1030", "gfx1100", "sm_90"})
            for (const int rows : {1, 8, 512})
                for (const bool fusion : {true, false})
                    check_trials(file, find_arch(arch), {.rows = rows, .fusion = fusion});
    }
}

}  // namespace
}  // namespace hetune
