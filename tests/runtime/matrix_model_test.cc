// Whole models with their prefill on the matrix units, which the CPU device emulates lane by lane.
#include <doctest/doctest.h>

#include <algorithm>

#include "runtime/api/verify.h"
#include "runtime/oracle/logits_distance.h"
#include "tests/cache/test_folder.h"
#include "tests/runtime/model_files.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

constexpr StepKind kMany{.rows = 72, .output = StepOutput::kEachLogits};

bool uses(const Plan& plan, const std::string& kernel) {
    return std::ranges::find(plan.kernels, kernel, &KernelSpec::name) != plan.kernels.end();
}

TEST_CASE("prefill on the matrix units gives llama.cpp's logits, fused and not") {
    const std::vector<int32_t> tokens = sequence();
    for (const char* model : {"tiny-Q4_K_M", "mini35-Q4_K_M"})
        for (const bool fusion : {true, false}) {
            CAPTURE(model);
            CAPTURE(fusion);
            Loaded loaded(kModels + "/" + model + ".gguf", {.context = 256,
                                                            .prefill_rows = 72,
                                                            .fusion = fusion,
                                                            .all_logits = true,
                                                            .matrix = true});
            Solo& session = loaded.session;
            const Plan plan = session.plan_for(kMany);
            CHECK(uses(plan, "gemm"));
            CHECK(uses(plan, "attention_flash"));
            CHECK_FALSE(uses(session.plan_for(kDecodeStep), "gemm"));
            const auto distance =
                compare_logits(exact(std::string(model) + ".exact"), session.forward(tokens, true),
                               session.vocabulary());
            MESSAGE(std::string(model), ": mean KL ", distance.mean_kl, " top-1 ", distance.top1);
            CHECK(distance.mean_kl < 5e-4);  // halves; 8-bit activations may have 1.5e-3
            CHECK(distance.top1 >= 97.0);
        }
}

// Narrow matrices stay with 8-bit blocks, and cost what these cost.
TEST_CASE("what a plan rounds is known product by product: halves, and 8 bits where it is narrow") {
    const TestFolder folder;
    ModelShape shape = with_experts(small("qwen3moe"), 0);
    shape.expert_inner = 32;
    const std::string path = folder.path() / "narrow.gguf";
    write_synthetic(shape, {.quant = "Q8_0"}, path);
    Loaded loaded(path, {.context = 128, .prefill_rows = 72, .all_logits = true, .matrix = true});
    const OracleRounding rounding{.activations = true,
                                  .halves = products_of_halves(loaded.session.plan_for(kMany)),
                                  .kv = KvType::kF16};
    CHECK(rounding.halves.contains("blk.0.attn_q.weight"));
    CHECK_FALSE(rounding.halves.contains("blk.0.ffn_gate_exps.weight"));
    CHECK(products_of_halves(loaded.session.plan_for({.output = StepOutput::kEachLogits})).empty());

    const LayerGraph graph = build_layer_graph(loaded.file);
    ReferenceEngine exact(loaded.file, graph, 128), rounded(loaded.file, graph, 128, rounding);
    const std::vector<int32_t> tokens = some_tokens(72);
    const std::vector<float> wanted = oracle_logits(exact, tokens),
                             made = loaded.session.forward(tokens, true);
    const auto kl = [&](std::span<const float> a, std::span<const float> b) {
        return compare_logits(a, b, graph.vocabulary).mean_kl;
    };
    const double cost = kl(wanted, oracle_logits(rounded, tokens)), distance = kl(wanted, made);
    MESSAGE("8 bits in the narrow products cost ", cost, ", the kernels are ", distance, " off");
    CHECK(distance < 2 * cost + 1e-4);  // the gate of hetune verify
}

}  // namespace
}  // namespace hetune
