// What a plan takes when kernels are refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "planner/lower/plan_builder.h"
#include "planner/make_plan.h"
#include "planner/plan/plan_text.h"
#include "tests/cache/test_folder.h"
#include "tests/planner/small_model.h"

namespace hetune {
namespace {

class Planner {
  public:
    Planner() { small_model(8).write(path_); }

    Plan plan(const std::vector<KernelSpec>& refused, bool fusion = true) const {
        const ModelFile file(path_, ModelFile::Open::kHeaderOnly);
        PlanOptions options{.fusion = fusion};
        for (const KernelSpec& spec : refused) options.refused[spec.to_string()] = "it is broken";
        return make_plan(build_layer_graph(file), file, find_arch("gfx1100"), options);
    }

  private:
    TestFolder folder_;
    std::filesystem::path path_ = folder_.path() / "small.gguf";
};

const PlanStep* step_of(const Plan& plan, std::string_view kernel) {
    const auto found = std::ranges::find_if(
        plan.steps, [&](const PlanStep& step) { return plan.spec(step).name == kernel; });
    return found == plan.steps.end() ? nullptr : &*found;
}

TEST_CASE("with nothing refused the plan is the same") {
    const Planner planner;
    CHECK(planner.plan({{"gemv", {{"kWaves", "99"}}}}).steps == planner.plan({}).steps);
}

TEST_CASE(
    "a plan has each kernel once, in order of first use, and none that was tried and refused") {
    const Planner planner;
    const Plan plan = planner.plan({}), chain = planner.plan({}, false);
    const PlanStep* step = step_of(plan, "attention_step");
    REQUIRE(step != nullptr);
    CHECK(chain.steps.size() > chain.kernels.size());
    for (const Plan& one : {plan, chain, planner.plan({plan.spec(*step)})}) {
        int next = 0;
        for (const PlanStep& s : one.steps) {
            CHECK(s.kernel <= next);
            if (s.kernel == next) CHECK(&one.first_use(next++) == &s);
        }
        CHECK(next == std::ssize(one.kernels));
        CHECK(std::set(one.kernels.begin(), one.kernels.end()).size() == one.kernels.size());
    }
}

TEST_CASE("instead of a refused kernel one of fewer waves is launched, with as many threads") {
    const Planner planner;
    const Plan before = planner.plan({});
    const PlanStep* step = step_of(before, "attention_step");
    REQUIRE(step != nullptr);
    CHECK(before.spec(*step).constants.at("kWaves") == "4");
    const Plan after = planner.plan({before.spec(*step)});
    step = step_of(after, "attention_step");
    REQUIRE(step != nullptr);
    CHECK(after.spec(*step).constants.at("kWaves") == "2");
    CHECK(step->threads == 64);
    CHECK(after.steps.size() == before.steps.size());
}

TEST_CASE("when all variants of a fused kernel are refused the unfused chain takes its place") {
    const Planner planner;
    std::vector<KernelSpec> refused;
    Plan plan = planner.plan({});
    for (int i = 0; i < 20 && step_of(plan, "attention_step") != nullptr; ++i) {
        refused.push_back(plan.spec(*step_of(plan, "attention_step")));
        plan = planner.plan(refused);
    }
    CHECK(refused.size() > 1);
    CHECK(step_of(plan, "attention_step") == nullptr);
    CHECK(step_of(plan, "attention_split") != nullptr);
    CHECK(step_of(plan, "gemv_swiglu") != nullptr);  // the other fusions stay
    CHECK(std::ranges::count(
              plan.notes, "attention of one token: left out, since its kernels are refused") == 1);
}

TEST_CASE("a primitive of which no kernel is left is an error that names the last and why") {
    const Planner planner;
    std::vector<KernelSpec> refused;
    std::string message;
    for (int i = 0; i < 20 && message.empty(); ++i) try {
            const Plan plan = planner.plan(refused, false);
            refused.push_back(plan.spec(*step_of(plan, "rmsnorm")));
        } catch (const ModelError& error) {
            message = error.what();
        }
    CHECK(message.find("for 'rmsnorm' (blk.0.attn_norm) are refused") != std::string::npos);
    CHECK(message.find("it is broken") != std::string::npos);
}

TEST_CASE("the sampler takes fewer waves") {
    PlanOptions options;
    const Arch& arch = find_arch("gfx1100");
    options.refused[make_sampler_plan(100, arch, options, false).kernels[0].to_string()] = "broken";
    const Plan plan = make_sampler_plan(100, arch, options, false);
    CHECK(plan.kernels[0].constants.at("kWaves") == "8");
    CHECK(plan.steps[0].threads == 256);
}

}  // namespace
}  // namespace hetune
