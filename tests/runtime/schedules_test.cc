// Random schedules of many sequences on a model with random tunings, a refused kernel and steps of
// a random size: each sequence leaves what it leaves alone, bit for bit.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <memory>
#include <random>
#include <thread>

#include "cache/tuning_store.h"
#include "planner/fusion/rule.h"
#include "planner/plan/tuning_space.h"
#include "runtime/api/model_host.h"
#include "runtime/trial/tunings_for.h"
#include "tests/cache/test_folder.h"
#include "tests/runtime/model_files.h"
#include "tests/runtime/random_program.h"

namespace hetune {
namespace {

using testing::Program, testing::Tokens;

class Schedules {
  public:
    Schedules(const std::string& model, int parallel, uint32_t seed)
        : model_(model), parallel_(parallel), random_(seed) {
        constexpr int kRows[] = {3, 8, 17, 32, 40};
        rows_ = kRows[below(5)];
        setenv("HETUNE_CACHE_DIR", folder_.path().c_str(), 1);
        const auto plain = load(1, false);
        tune(*plain);
        refuse(*plain);
    }

    // Programs at the same time, each of which is then compared with a fresh sequence of its tokens
    // that has the model for itself. The number of their tokens.
    int run(int programs, uint32_t first) {
        const Model model(load(parallel_, true)), other(load(1, false));
        std::vector<std::unique_ptr<Program>> list;
        std::vector<std::thread> threads;
        for (int i = 0; i < programs; ++i)
            list.push_back(std::make_unique<Program>(model, first + static_cast<uint32_t>(i)));
        for (const auto& program : list) threads.emplace_back([&program] { program->run(5); });
        for (std::thread& thread : threads) thread.join();
        int tokens = 0;
        CAPTURE(model_);
        CAPTURE(parallel_);
        CAPTURE(rows_);
        CAPTURE(refused_);
        CAPTURE(left_out_);
        for (const auto& program : list) {
            const uint32_t seed = first++;
            CAPTURE(seed);
            program->make_room(4);
            Sequence fresh = program->fresh(other);
            const Tokens probe = {7, 300, 41};
            CHECK(program->held() == Tokens(fresh.tokens().begin(), fresh.tokens().end()));
            CHECK(program->text().logits(probe) == fresh.logits(probe));
            tokens += static_cast<int>(program->held().size());
        }
        return tokens;
    }

  private:
    int below(size_t count) { return static_cast<int>(random_() % count); }

    std::shared_ptr<ModelHost> load(int parallel, bool prefixes) {
        const char* chosen = std::getenv("HETUNE_TEST_BACKEND");
        return std::make_shared<ModelHost>(kModels + "/" + model_ + "-Q4_K_M.gguf",
                                           ModelOptions{.backend = chosen ? chosen : "cpu",
                                                        .context = 64,
                                                        .parallel = parallel,
                                                        .prefill_rows = rows_,
                                                        .all_logits = true,
                                                        .state_snapshots = 2,
                                                        .prefix_cache = prefixes,
                                                        .exact_prefix = prefixes});
    }

    // A random point for each kernel of the decode step, and a random rule left out of it, or none.
    void tune(ModelHost& host) {
        const CacheFolder folder({.folder = folder_.path()});
        TuningStore store(folder);
        const Arch& arch = host.device->arch();
        const Plan plan = host.loaded->plan_for(kDecodeStep);
        for (const PlanStep& step : plan.steps) {
            const KernelSpec& spec = plan.spec(step);
            std::vector<TuningPoint> points;
            for (const TuningPoint& point : all_points(*find_template(spec.name)))
                if (refusal(with_point(spec, point), target_limits(arch)).empty())
                    points.push_back(point);
            if (points.empty()) continue;
            const TuningPoint& point = points[static_cast<size_t>(below(points.size()))];
            store.put({.key = {.kernel = spec.name,
                               .shape = shape_of(plan, step).to_string(),
                               .arch = arch.name,
                               .device = host.device->info().name,
                               .compiler = host.library->compiler().identity()},
                       .point = point,
                       .default_point = point_of(spec),
                       .us = 1,
                       .default_us = 2,
                       .measured = true},
                      true);
        }
        const size_t rule = random_() % (fusion_rules().size() + 1);
        if (rule == fusion_rules().size()) return;
        left_out_ = fusion_rules()[rule].name;
        store.put({.key = {.kernel = kWholePlan,
                           .shape = plan_signature(plan),
                           .arch = arch.name,
                           .device = host.device->info().name,
                           .compiler = host.library->compiler().identity()},
                   .point = {{left_out_, "off"}},
                   .us = 1,
                   .default_us = 2,
                   .measured = true},
                  true);
    }

    // One of the kernels of all steps, tuned, is one that did not compile.
    void refuse(ModelHost& host) {
        const auto tuned = load(parallel_, true);
        std::vector<KernelSpec> kernels;
        for (const KernelSpec& spec : tuned->loaded->plans().kernels())
            if (spec.name.starts_with("gemv") || spec.name.ends_with("_step") ||
                spec.name.starts_with("moe_"))
                kernels.push_back(spec);
        const KernelSpec& spec = kernels[static_cast<size_t>(below(kernels.size()))];
        refused_ = spec.to_string();
        Fact fact = host.library->left_out(spec, "a test says so");
        fact.key.kind = "refusal";
        fact.good = false;
        host.library->store().facts().put(fact);
    }

    TestFolder folder_;
    const std::string model_;
    const int parallel_;
    std::mt19937 random_;
    int rows_ = 0;
    std::string refused_, left_out_;
};

TEST_CASE("200 schedules of 1 to 64 sequences, with random tunings and a refused kernel") {
    uint32_t seed = 0;
    int tokens = 0, programs = 0;
    const auto run = [&](const char* model, int parallel, int count) {
        seed += 1000;
        tokens += Schedules(model, parallel, seed).run(count, seed);
        programs += count;
    };
    for (const char* model : {"tiny", "mini35"}) {
        run(model, 1, 4);
        run(model, 2, 6);
        run(model, 4, 8);
        run(model, 8, 12);
        run(model, 16, 18);
    }
    run("tiny", 64, 68);
    run("mini35", 33, 36);
    MESSAGE(programs, " programs, ", tokens, " tokens");
    CHECK(programs >= 200);
    CHECK(tokens > 4000);
}

}  // namespace
}  // namespace hetune
