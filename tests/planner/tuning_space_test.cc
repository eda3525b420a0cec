// Tuning spaces and the cost model that ranks them.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "kernel_templates/catalogue.h"
#include "planner/lower/plan_builder.h"
#include "planner/make_plan.h"
#include "planner/plan/cost_model.h"
#include "planner/tuning_targets.h"
#include "tests/cache/test_folder.h"
#include "tests/planner/small_model.h"

namespace hetune {
namespace {

struct Small {
    TestFolder folder;
    std::unique_ptr<ModelFile> file;
    LayerGraph graph;
    Small() {
        small_model(8).write(folder.path() / "small.gguf");
        file =
            std::make_unique<ModelFile>(folder.path() / "small.gguf", ModelFile::Open::kHeaderOnly);
        graph = build_layer_graph(*file);
    }
    std::vector<TuningTarget> targets(const char* arch, int rows) const {
        return tuning_targets(graph, *file, find_arch(arch), {.rows = rows}, 64,
                              [](const std::string&) { return true; });
    }
};

TEST_CASE("a tunable that a template declares is one of its constants") {
    for (const TemplateInfo* info : all_templates())
        for (const TemplateTunable& tunable : info->tunables) {
            CAPTURE(info->name);
            CHECK(std::ranges::count(info->constants, tunable.name, &TemplateConstant::name) == 1);
            CHECK(std::set<int>(tunable.values.begin(), tunable.values.end()).size() ==
                  tunable.values.size());
        }
}

TEST_CASE("points are refused that a target cannot hold or that break a divisibility") {
    const TargetLimits limits{.max_threads = 256, .lds_bytes = 4096};
    KernelSpec gemv{"gemv", {{"kTokens", "8"}, {"kWaves", "4"}}};
    CHECK(refusal(gemv, limits).empty());
    gemv.constants["kWaves"] = "16";
    CHECK(refusal(gemv, limits) == "512 threads, but a group has at most 256");
    gemv.constants = {{"kTokens", "16"}, {"kWaves", "8"}};
    CHECK(refusal(gemv, limits) == "16384 bytes of LDS, but a group has 4096");
    gemv.constants = {{"kTokens", "16"}, {"kWaves", "1"}};
    CHECK(refusal(gemv, limits).empty());
    const KernelSpec delta{"delta_net", {{"kKeySize", "12"}, {"kWaves", "8"}}};
    CHECK(refusal(delta, {}) == "kKeySize is no multiple of kWaves");
}

TEST_CASE("a space has the default first and each point once, as the lowering would emit it") {
    const Small small;
    for (const auto& [arch, rows] :
         {std::pair{"gfx1100", 1}, {"gfx1100", 8}, {"sm_90", 1}, {"x86-64-v3", 8}}) {
        CAPTURE(arch);
        CAPTURE(rows);
        const auto targets = small.targets(arch, rows);
        CHECK(targets.size() >= 4);
        for (const TuningTarget& target : targets) {
            CAPTURE(target.shape.to_string());
            CHECK(target.launches >= 1);
            std::set<std::string> seen;
            for (const TuningCandidate& candidate : target.candidates) {
                const PlanStep& step = candidate.plan.steps.at(candidate.step);
                const KernelSpec& spec = candidate.plan.spec(step);
                CHECK(spec.name == target.shape.kernel.name);
                CHECK(candidate.point == point_of(spec));
                CHECK(shape_of(candidate.plan, step) == target.shape);
                CHECK(seen.insert(spec.to_string()).second);
                CHECK(refusal(spec, target_limits(find_arch(arch))).empty());
                if (spec.constants.contains("kWaves"))
                    CHECK(step.threads == 32 * std::stoul(spec.constants.at("kWaves")));
                CHECK(candidate.model_us > 0);
            }
        }
    }
    // With one row no more than one token can share a pass.
    for (const TuningTarget& target : small.targets("gfx1100", 1))
        for (const TuningCandidate& candidate : target.candidates)
            if (candidate.point.contains("kTokens")) CHECK(candidate.point.at("kTokens") == "1");
}

TEST_CASE(
    "tunings change the steps of their shape, and nothing else; refused and unknown ones change "
    "nothing") {
    const Small small;
    const Arch& arch = find_arch("gfx1100");
    const Plan base = make_plan(small.graph, *small.file, arch, {});
    const auto shape = [&](size_t i) { return shape_of(base, base.steps[i]).to_string(); };
    const auto with = [&](const std::string& of, TuningPoint point) {
        PlanOptions options;
        options.tunings.kernels[of] = std::move(point);
        Plan plan = make_plan(small.graph, *small.file, arch, options);
        plan.options = base.options;
        return plan;
    };
    const auto spec = [](const Plan& plan, size_t i) { return plan.spec(plan.steps[i]); };
    size_t swiglu = 0;
    while (spec(base, swiglu).name != "gemv_swiglu") ++swiglu;
    const std::string other = spec(base, swiglu).constants.at("kWaves") == "8" ? "4" : "8";
    const Plan tuned = with(shape(swiglu), {{"kTokens", "1"}, {"kWaves", other}});
    CHECK(spec(tuned, swiglu).constants.at("kWaves") == other);
    CHECK(tuned.tuned.size() == 1);
    for (size_t i = 0; i < base.steps.size(); ++i)
        if (i != swiglu) CHECK(tuned.steps[i] == base.steps[i]);
    CHECK(with(shape(swiglu), {{"kWaves", other}}).steps == base.steps);  // a tunable is missing
    CHECK(with(shape(swiglu), {{"kTokens", "1"}, {"kWaves", "64"}}).steps ==
          base.steps);  // 2048 threads
    CHECK(with("gemv(kCols=1) x1", {{"kWaves", "4"}}).steps == base.steps);
    // Values that no template declares: what divides by them must not see them.
    for (const char* value : {"0", "-1", "3", "08", "4 ", "", "four", "99999999999999999999"}) {
        CAPTURE(value);
        CHECK(with(shape(swiglu), {{"kTokens", "1"}, {"kWaves", value}}).steps == base.steps);
        CHECK(with(shape(swiglu), {{"kTokens", value}, {"kWaves", other}}).steps == base.steps);
    }
    for (size_t i = 0; i < base.steps.size(); ++i) {
        TuningPoint zero = point_of(spec(base, i));
        for (auto& [name, value] : zero) value = "0";
        CHECK(with(shape(i), zero).steps == base.steps);
    }
    CHECK(plan_signature(tuned) == plan_signature(base));
}

TEST_CASE("what explicit tunables say comes before tunings") {
    const Small small;
    const Plan base = make_plan(small.graph, *small.file, find_arch("gfx1100"), {});
    PlanOptions options;
    for (const PlanStep& step : base.steps)
        if (base.spec(step).name == "gemv_residual")
            options.tunings.kernels[shape_of(base, step).to_string()] = {{"kTokens", "1"},
                                                                         {"kWaves", "8"}};
    options.tunables["gemv_residual"]["kWaves"] = "2";
    for (const KernelSpec& spec :
         make_plan(small.graph, *small.file, find_arch("gfx1100"), options).kernels)
        if (spec.name == "gemv_residual") CHECK(spec.constants.at("kWaves") == "2");
}

TEST_CASE(
    "the model knows waves that hide latency, groups that do not fit, and launches that cost") {
    const Plan plan{.kernels = {{"gemv", {{"kTokens", "1"}, {"kWaves", "1"}}}}};
    PlanStep step;
    step.cost = {.weight_bytes = 16 << 20, .operations = 64 << 20};
    step.groups[0] = 128;
    const auto us = [&](const Arch& arch, int waves) {
        step.threads = static_cast<uint32_t>(32 * waves);
        return predict(plan, step, arch, 0).us;
    };
    for (const char* name : {"gfx1100", "gfx1151", "sm_90"}) {
        CAPTURE(name);
        const Arch& arch = find_arch(name);
        CHECK(us(arch, 8) <= us(arch, 1));
        CHECK(us(arch, 8) >= 16.0 * 1.048576e3 / arch.bandwidth_gb_s);
        CHECK(predict(plan, step, arch, 0).us > arch.launch_us);
        CHECK(predict(plan, step, arch, 0, {.vgprs = 64, .lds_bytes = 1 << 20}).waves_per_simd ==
              0);
        CHECK(arch.cache_bytes > 0);
    }
    // 128 groups of one wave leave most of a large card idle.
    CHECK(us(find_arch("gfx1100"), 8) < us(find_arch("gfx1100"), 1));
    CHECK(us(find_arch("sm_90"), 8) < us(find_arch("sm_90"), 1));
    step.threads = 32;
    step.cost = {.activation_bytes = 1024};
    CHECK(predict(plan, step, find_arch("gfx1100"), 0).bound_by == "launch");
    // A second pass over the weights is not free.
    PlanStep twice{.rows_axis = 1, .cost = {.weight_bytes = 64 << 20}};
    twice.groups[0] = 4096;
    const double once_us = predict(plan, twice, find_arch("gfx1100"), 0).us;
    twice.groups[1] = 16;
    CHECK(predict(plan, twice, find_arch("gfx1100"), 0).us > 2 * once_us);
}

// The kernels that decode for several sequences take the tunings of one row's, and add in the same
// order. A shape that one row does not have could be tuned for itself.
TEST_CASE("steps of several sequences have the shapes and the variants of one row") {
    for (const char* name : {"tiny", "mini35"}) {
        const ModelFile file(std::string(HETUNE_TEST_MODELS) + "/" + name + "-Q4_K_M.gguf",
                             ModelFile::Open::kHeaderOnly);
        const LayerGraph graph = build_layer_graph(file);
        for (const char* arch_name : {"gfx1100", "gfx1151", "gfx1201", "sm_90", "x86-64-v3"})
            for (const Activations activations : {Activations::kQuantised, Activations::kFloat}) {
                const Arch& arch = find_arch(arch_name);
                PlanOptions options{.activations = activations, .matrix = arch.has_matrix};
                const Plan one = make_plan(graph, file, arch, options);
                std::set<std::string> shapes;
                for (const PlanStep& step : one.steps)
                    shapes.insert(shape_of(one, step).to_string());
                for (const char* without : {"", "swiglu", "product, residual and norm"}) {
                    if (*without != '\0') options.tunings.without[plan_signature(one)] = {without};
                    for (int rows = 2; rows <= 64; rows *= 2) {
                        CAPTURE(name);
                        CAPTURE(arch_name);
                        CAPTURE(rows);
                        options.rows = options.sequences = rows;
                        options.output = StepOutput::kEachLogits;
                        const Plan plan = make_plan(graph, file, arch, options);
                        CHECK(plan.tuned.size() == (*without == '\0' ? 0 : 1));
                        for (const PlanStep& step : plan.steps) {
                            const KernelSpec& spec = plan.spec(step);
                            if (*without == '\0' && !find_template(spec.name)->tunables.empty())
                                CHECK_MESSAGE(shapes.contains(shape_of(plan, step).to_string()),
                                              shape_of(plan, step).to_string());
                            CHECK_FALSE(
                                (std::string(without) == "swiglu" && spec.name == "gemv_swiglu"));
                        }
                    }
                    options.tunings = {};
                    options.rows = options.sequences = 1;
                    options.output = StepOutput::kLogits;
                }
            }
    }
}

}  // namespace
}  // namespace hetune
