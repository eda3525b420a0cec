// Whole models with their prefill on the matrix units, which the CPU device emulates lane by lane.
#include <doctest/doctest.h>

#include <algorithm>

#include "runtime/logits_distance.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

bool uses(const Plan& plan, const std::string& kernel) {
    return std::ranges::any_of(plan.steps,
                               [&](const PlanStep& step) { return step.spec.name == kernel; });
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
            Session& session = loaded.session;
            const Plan plan = session.plan_for(72, true);
            CHECK(uses(plan, "gemm"));
            CHECK(uses(plan, "attention_flash"));
            CHECK_FALSE(uses(session.plan_for(1, false), "gemm"));
            const auto distance =
                compare_logits(exact(std::string(model) + ".exact"), session.forward(tokens, true),
                               session.vocabulary());
            MESSAGE(std::string(model), ": mean KL ", distance.mean_kl, " top-1 ", distance.top1);
            CHECK(distance.mean_kl < 5e-4);  // halves; 8-bit activations may have 1.5e-3
            CHECK(distance.top1 >= 97.0);
        }
}

}  // namespace
}  // namespace hetune
