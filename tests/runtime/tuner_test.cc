// Sweeps against a device with a scripted clock: winners, noise and failures are exact.
#include "runtime/trial/tuner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "planner/lower/plan_builder.h"
#include "planner/make_plan.h"
#include "planner/plan/tuning_space.h"
#include "runtime/load/model_plans.h"
#include "runtime/trial/tunings_for.h"
#include "tests/cache/test_folder.h"
#include "tests/cpu_arch.h"
#include "tests/planner/small_model.h"
#include "tests/runtime/model_files.h"
#include "tests/runtime/scripted_device.h"

namespace hetune {
namespace {

constexpr uint32_t kQ8 = 8;

// Microseconds of gemv_residual by its waves; the default on the CPU is one.
double planted(const ScriptedLaunch& launch) {
    switch (launch.waves()) {
        case 1:
            return 4.0;
        case 2:
            return 3.0;
        case 4:
            return 1.0;
        case 8:
            return 2.0;
    }
    return 5.0;
}

struct Bench {
    TestFolder folder;
    std::filesystem::path path = folder.path() / "small.gguf";
    ScriptedDevice device;
    CacheFolder cache{{.folder = folder.path() / "cache"}};
    TuningStore store{cache};
    std::unique_ptr<ModelFile> file;

    explicit Bench(const GgufWriter& model = small_model(kQ8)) {
        model.write(path);
        file = std::make_unique<ModelFile>(path, ModelFile::Open::kHeaderOnly);
        device.cost_us = planted;
    }
    TuneOptions options() const {
        return {.kernels = "gemv_residual",
                .strategy = "exhaustive",
                .memory = {.context = 32, .synthetic = true, .seed = 1},
                .whole_plan = false};
    }
    TuneResult sweep(const TuneOptions& options) {
        KernelLibrary library(device.arch(), code_store(), read_environment());
        return Tuner(device.arch(), &device, &library, store, *file, nullptr, options).run();
    }
    Plan plan(const Tunings& tunings) const {
        PlanOptions options;
        options.tunings = tunings;
        return make_plan(build_layer_graph(*file), *file, device.arch(), options);
    }
};

const TuningTrial& trial_of(const TunedKernel& kernel, const std::string& waves) {
    const auto at = std::ranges::find_if(
        kernel.record.trials, [&](const TuningTrial& t) { return t.point.at("kWaves") == waves; });
    REQUIRE(at != kernel.record.trials.end());
    return *at;
}

TEST_CASE(
    "a default that is four times too slow loses to the fastest candidate, by every strategy") {
    for (const Strategy& strategy : strategies()) {
        CAPTURE(strategy.name);
        Bench bench;
        TuneOptions options = bench.options();
        options.strategy = strategy.name;
        const TuneResult result = bench.sweep(options);
        CHECK(result.measured);
        CHECK_FALSE(result.stopped);
        REQUIRE(result.kernels.size() == 2);  // of attention and of the feed-forward
        for (const TunedKernel& kernel : result.kernels) {
            CHECK(kernel.source == "measured");
            CHECK(kernel.record.default_point.at("kWaves") == "1");
            CHECK(kernel.record.default_us == doctest::Approx(4.0));
            // The cost model of the CPU does not know the script: what it leaves out cannot win.
            if (std::string(strategy.name) == "model-guided") continue;
            CHECK(kernel.record.point.at("kWaves") == "4");
            CHECK(kernel.record.us == doctest::Approx(1.0));
            CHECK(kernel.record.noise_us == 0.0);
        }
    }
}

TEST_CASE("a later plan takes what was found, and HETUNE_TUNE=off does not") {
    Bench bench;
    const TuneResult result = bench.sweep(bench.options());
    const auto records = bench.store.all(test::cpu_arch());
    REQUIRE(records.size() == 2);
    const auto waves_of = [&](TuneUse use) {
        std::set<std::string> waves;
        const Plan plan = bench.plan(tunings_for(records, bench.device.arch(), "scripted",
                                                 result.kernels[0].record.key.compiler, use)
                                         .tunings);
        for (const PlanStep& step : plan.steps)
            if (const KernelSpec& spec = plan.spec(step); spec.name == "gemv_residual") {
                waves.insert(spec.constants.at("kWaves"));
                CHECK(step.threads == 32 * std::stoul(spec.constants.at("kWaves")));
            }
        return waves;
    };
    CHECK(waves_of(TuneUse::kMeasured) == std::set<std::string>{"4"});
    CHECK(waves_of(TuneUse::kOff) == std::set<std::string>{"1"});
    CHECK(tune_use("") == TuneUse::kMeasured);
    CHECK(tune_use("off") == TuneUse::kOff);
    CHECK_THROWS_WITH(tune_use("no"), "HETUNE_TUNE='no'; known: off, measured, all");
    CHECK(bench
              .plan(tunings_for(records, bench.device.arch(), "scripted", "", TuneUse::kMeasured)
                        .tunings)
              .tuned.size() == 2);
}

TEST_CASE("what is found for a step of several sequences serves steps of all numbers of them") {
    Bench bench;
    TuneOptions options = bench.options();
    options.kinds = {decode_step(4).value()};
    options.memory.batch_context = 16;
    const TuneResult result = bench.sweep(options);
    REQUIRE(result.kernels.size() == 2);
    for (const TunedKernel& kernel : result.kernels) {
        CHECK(kernel.sequences == 4);
        CHECK(kernel.record.context == 16);
        CHECK(kernel.record.point == NamedValues{{"kTokens", "1"}, {"kWaves", "4"}});
        CHECK(kernel.record.default_point == NamedValues{{"kTokens", "1"}, {"kWaves", "1"}});
    }
    const Tunings tunings =
        tunings_for(bench.store.all(test::cpu_arch()), bench.device.arch(), "scripted",
                    result.kernels[0].record.key.compiler, TuneUse::kMeasured)
            .tunings;
    for (const int rows : {1, 2, 4, 8}) {
        PlanOptions of_rows = with_kind({}, decode_step(rows).value());
        of_rows.tunings = tunings;
        const Plan plan =
            make_plan(build_layer_graph(*bench.file), *bench.file, bench.device.arch(), of_rows);
        for (const KernelSpec& spec : plan.kernels)
            if (spec.name == "gemv_residual") {
                CHECK(spec.constants.at("kWaves") == "4");
                CHECK(spec.constants.at("kTokens") == std::to_string(rows));
            }
    }
}

TEST_CASE(
    "without a rule that several sequences need, they take turns; all other steps are there") {
    const ModelFile file(kModels + "/mini35-Q4_K_M.gguf", ModelFile::Open::kHeaderOnly);
    const LayerGraph graph = build_layer_graph(file);
    const Arch& arch = find_arch("x86-64-v3");
    LoadOptions options{.sequences = 4, .all_logits = true, .hidden_states = true};
    CHECK(model_plans(graph, file, arch, options).samplers.size() == 3);
    const Plan one = step_plan(graph, file, arch, options, kDecodeStep);
    options.tunings.without[plan_signature(one)] = {"delta net of one token"};
    const ModelPlans plans = model_plans(graph, file, arch, options);
    CHECK(plans.samplers.size() == 1);
    CHECK(plans.steps.size() == 4);
    for (const StepKind& kind : {kDecodeStep, prefill_step(options, arch),
                                 logits_step(options, arch), hidden_step(options, arch)})
        CHECK_NOTHROW(plans.of(kind));
}

TEST_CASE("a sweep over several steps times a shape once, for the fewest rows") {
    Bench bench;
    TuneOptions options = bench.options();
    options.kinds = {kDecodeStep, decode_step(2).value()};
    options.whole_plan = true;
    for (const bool again : {false, true}) {
        options.again = again;
        const TuneResult result = bench.sweep(options);
        REQUIRE(result.kernels.size() == 4);
        CHECK(result.kernels[0].source == "measured");
        CHECK(result.kernels[2].source == "shared");
        CHECK(result.kernels[3].sequences == 2);
        REQUIRE(result.plans.size() == 2);
        CHECK(result.plans[1].sequences == 2);
        CHECK(result.plans[1].tuned_kl <= kMostKl);
        for (const TunedKernel& kernel : result.kernels)
            CHECK(kernel.record.point.at("kWaves") == "4");
    }
}

TEST_CASE("a candidate that is faster by less than the noise does not win") {
    Bench bench;
    int count = 0;
    // 4.00 against 3.80, and each of them off by up to 0.5 either way.
    bench.device.cost_us = [&](const ScriptedLaunch& launch) {
        const double jitter[] = {-0.5, 0.4, -0.3, 0.5, 0.0, 0.3, -0.4};
        return (launch.waves() == 2 ? 3.8 : 4.0) + jitter[count++ / 64 % 7];
    };
    for (const TunedKernel& kernel : bench.sweep(bench.options()).kernels) {
        CHECK(kernel.record.point == kernel.record.default_point);
        CHECK(trial_of(kernel, "1").noise_us > 0.0);
    }
}

TEST_CASE("a gain of less than two percent does not win, however little noise there is") {
    Bench bench;
    bench.device.cost_us = [](const ScriptedLaunch& launch) {
        return launch.waves() == 2 ? 3.95 : 4.0;
    };
    for (const TunedKernel& kernel : bench.sweep(bench.options()).kernels)
        CHECK(kernel.record.point == kernel.record.default_point);
}

TEST_CASE("the fastest candidate does not win when it leaves half of its output unwritten") {
    Bench bench;
    bench.device.driver = "breaks gemv_residual";
    bench.device.broken = [](const ScriptedLaunch& launch) {
        return launch.entry == "gemv_residual" && launch.waves() == 4;
    };
    for (const TunedKernel& kernel : bench.sweep(bench.options()).kernels) {
        CHECK(trial_of(kernel, "4").state == "wrong");
        CHECK(trial_of(kernel, "4").why.find("is not written") != std::string::npos);
        CHECK(trial_of(kernel, "4").samples == 0);  // it was not even timed
        CHECK(kernel.record.point.at("kWaves") == "8");
        CHECK(kernel.record.us == doctest::Approx(2.0));
    }
}

// Of eight KV heads, so that a launch of kv_write has several groups.
GgufWriter model_of_eight_heads() {
    GgufWriter file = small_model(kQ8);
    file.set("qwen3.attention.head_count", 8u).set("qwen3.attention.head_count_kv", 8u);
    for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"})
        file.tensor({name, {64, 256}, kQ8});
    file.tensor({"blk.0.attn_output.weight", {256, 64}, kQ8});
    return file;
}

TEST_CASE("a candidate that writes half of an 8-bit KV cache is wrong") {
    Bench bench(model_of_eight_heads());
    bench.device.driver = "breaks kv_write";
    bench.device.broken = [](const ScriptedLaunch& launch) {
        return launch.entry == "kv_write" && launch.waves() == 2;
    };
    TuneOptions options = bench.options();
    options.kernels = "kv_write";
    options.kinds = {{.rows = 8}};
    options.plan.kv = KvType::kQ8;
    const TuneResult result = bench.sweep(options);
    REQUIRE_FALSE(result.kernels.empty());
    for (const TunedKernel& kernel : result.kernels) {
        CHECK(trial_of(kernel, "2").state == "wrong");
        CHECK(trial_of(kernel, "4").state != "wrong");
    }
}

TEST_CASE("what looked fast while others were compiling is timed again before it wins") {
    Bench bench;
    // The first timings of 16 waves lie; in the duel of the finalists they do not.
    std::map<int, int> seen;
    bench.device.cost_us = [&](const ScriptedLaunch& launch) {
        if (launch.waves() != 16) return planted(launch);
        return ++seen[launch.waves()] <= 64 * 11 ? 0.1 : 5.0;
    };
    const TuneResult result = bench.sweep(bench.options());
    CHECK(result.kernels[0].record.point.at("kWaves") == "4");
    CHECK(trial_of(result.kernels[0], "16").us == doctest::Approx(5.0));
}

TEST_CASE("a sweep that was stopped goes on where it was, and one that is done times nothing") {
    Bench bench;
    TuneOptions options = bench.options();
    // Interrupted once the first shape is stored.
    options.stop = [&] { return !bench.store.all().empty(); };
    const TuneResult first = bench.sweep(options);
    CHECK(first.stopped);
    REQUIRE(first.kernels.size() == 2);
    CHECK(first.kernels[0].source == "measured");
    CHECK(first.kernels[1].source == "stopped");

    const TuneResult second = bench.sweep(bench.options());
    CHECK_FALSE(second.stopped);
    REQUIRE(second.kernels.size() == 2);
    CHECK(second.kernels[0].source == "stored");
    CHECK(second.kernels[0].record.key == first.kernels[0].record.key);
    CHECK(second.kernels[1].source == "measured");

    const int timings = bench.device.timings;
    for (const TunedKernel& kernel : bench.sweep(bench.options()).kernels)
        CHECK(kernel.source == "stored");
    CHECK(bench.device.timings == timings);
    TuneOptions again = bench.options();
    again.again = true;
    for (const TunedKernel& kernel : bench.sweep(again).kernels) CHECK(kernel.source == "measured");
    CHECK(bench.device.timings > timings);
}

TEST_CASE("progress counts shapes and estimates the time left") {
    Bench bench;
    TuneOptions options = bench.options();
    std::vector<TuneProgress> seen;
    options.progress = [&](const TuneProgress& p) { seen.push_back(p); };
    bench.sweep(options);
    REQUIRE(!seen.empty());
    CHECK(seen.front().stage == "compile");
    CHECK(seen.back().done == 2);
    CHECK(seen.back().total == 2);
    CHECK(std::ranges::any_of(seen, [](const TuneProgress& p) { return p.seconds_left > 0; }));
}

TEST_CASE(
    "without a device candidates are ranked by the static model, marked so, and not used by "
    "plans") {
    Bench bench;
    const Arch& arch = find_arch("gfx1100");
    const TuneResult result =
        Tuner(arch, nullptr, nullptr, bench.store, *bench.file, nullptr, bench.options()).run();
    CHECK_FALSE(result.measured);
    REQUIRE(result.kernels.size() == 2);
    for (const TunedKernel& kernel : result.kernels) {
        CHECK(kernel.source == "ranked");
        CHECK_FALSE(kernel.record.measured);
        CHECK(kernel.record.key.device.empty());
        for (const TuningTrial& trial : kernel.record.trials) CHECK(trial.samples == 0);
    }
    const auto records = bench.store.all();
    CHECK(tunings_for(records, arch, "", "", TuneUse::kMeasured).used == 0);
    CHECK(tunings_for(records, arch, "", "", TuneUse::kAll).used == 2);
}

TEST_CASE(
    "whole plans: a fusion that makes the token slower is left out, and the logits stay right") {
    Bench bench;
    // The fused swiglu takes far longer than the products and the function that it replaces.
    bench.device.cost_us = [](const ScriptedLaunch& launch) {
        return launch.entry == "gemv_swiglu" ? 100.0 : 1.0;
    };
    TuneOptions options = bench.options();
    options.whole_plan = true;
    const TuneResult result = bench.sweep(options);
    REQUIRE(result.plans.size() == 1);
    const TunedPlan& plan = result.plans[0];
    CHECK(plan.without == std::vector<std::string>{"swiglu"});
    CHECK(plan.tuned_us < plan.default_us / 5);
    CHECK(plan.tuned_kl <= kMostKl);
    CHECK(plan.checked_with == "unfused plan");

    // Every later plan follows, and another model's does not.
    const auto records = bench.store.all(test::cpu_arch());
    const Tunings tunings = tunings_for(records, bench.device.arch(), "scripted",
                                        result.kernels[0].record.key.compiler, TuneUse::kMeasured)
                                .tunings;
    const auto uses_swiglu = [](const Plan& p) {
        return std::ranges::find(p.kernels, "gemv_swiglu", &KernelSpec::name) != p.kernels.end();
    };
    CHECK_FALSE(uses_swiglu(bench.plan(tunings)));
    const auto other = bench.folder.path() / "other.gguf";
    small_model(2).write(other);  // Q4_0
    const ModelFile file(other, ModelFile::Open::kHeaderOnly);
    PlanOptions plan_options;
    plan_options.tunings = tunings;
    CHECK(uses_swiglu(make_plan(build_layer_graph(file), file, bench.device.arch(), plan_options)));
}

TEST_CASE("a result of another device or compiler is better than none, and counts as such") {
    const Arch& arch = find_arch("gfx1100");
    const auto record = [](const char* device, const char* compiler, const char* waves, double us) {
        return TuningRecord{.key = {"gemv", "shape", "gfx1100", device, compiler},
                            .point = {{"kWaves", waves}},
                            .default_point = {{"kWaves", "1"}},
                            .us = us,
                            .default_us = 4,
                            .measured = true};
    };
    std::vector<TuningRecord> records = {record("7900 XT", "clang 18", "2", 1.0)};
    auto chosen = tunings_for(records, arch, "7900 XTX", "clang 19", TuneUse::kMeasured);
    CHECK(chosen.used == 1);
    CHECK(chosen.stale == 1);
    CHECK(chosen.other_device == 1);
    CHECK(chosen.tunings.kernels.at("shape").at("kWaves") == "2");

    records.push_back(record("7900 XTX", "clang 18", "4", 2.0));
    CHECK(tunings_for(records, arch, "7900 XTX", "clang 19", TuneUse::kMeasured)
              .tunings.kernels.at("shape")
              .at("kWaves") == "4");
    records.push_back(record("7900 XTX", "clang 19", "8", 3.0));
    chosen = tunings_for(records, arch, "7900 XTX", "clang 19", TuneUse::kMeasured);
    CHECK(chosen.tunings.kernels.at("shape").at("kWaves") == "8");
    CHECK(chosen.stale == 0);
    CHECK(tunings_for(records, find_arch("gfx1101"), "", "", TuneUse::kMeasured).used == 0);
    // A build box compiles for the defaults and for each device that has results.
    CHECK(all_tunings_for(records, arch, "clang 19", TuneUse::kMeasured).size() == 3);
}

TEST_CASE(
    "a stale result is a starting point: it reaches the final even where the strategy leaves it "
    "out") {
    Bench bench;
    bench.device.cost_us = [](const ScriptedLaunch& launch) {
        return launch.waves() == 16 ? 1.0 : 4.0;
    };
    TuneOptions options = bench.options();
    options.strategy = "model-guided";  // on the CPU the model likes few waves
    const TuneResult before = bench.sweep(options);
    CHECK(before.kernels[0].record.point.at("kWaves") == "1");
    for (TuningRecord record : bench.store.all()) {
        bench.store.remove({record.key});
        record.key.compiler = "of last year";
        record.point["kWaves"] = "16";
        bench.store.put(record);
    }
    const TuneResult after = bench.sweep(options);
    for (const TunedKernel& kernel : after.kernels) CHECK(kernel.source == "measured");
    // It was not timed by the strategy, but in the final it won.
    CHECK(after.kernels[0].record.point.at("kWaves") == "16");
}

TEST_CASE("the noise of a median shrinks with the number of samples, and outliers do not move it") {
    const Timing few = timing_of({10, 11, 9});
    const Timing many = timing_of({10, 11, 9, 10, 11, 9, 10, 11, 9, 10, 11, 9});
    CHECK(few.us == 10);
    CHECK(many.noise_us < few.noise_us);
    CHECK(timing_of({10, 10, 10, 10, 1000}).us == 10);
    CHECK(timing_of({10, 10, 10, 10, 1000}).noise_us == 0);
    CHECK(timing_of({1, 2, 3, 4}).us == 2.5);
    CHECK(is_faster({9, 0.1, 9}, {10, 0.1, 9}));
    CHECK_FALSE(is_faster({9, 0.3, 9}, {10, 0.3, 9}));
    CHECK_FALSE(is_faster({10, 0, 9}, {9, 0, 9}));
}

TEST_CASE("names of kernels match patterns with * and ?") {
    CHECK(matches_glob("gemv*", "gemv_fan"));
    CHECK(matches_glob("*", ""));
    CHECK(matches_glob("g?mv", "gemv"));
    CHECK_FALSE(matches_glob("gemv", "gemv_fan"));
    CHECK_FALSE(matches_glob("?", ""));
    CHECK(matches_glob("*a*b*", "xxaxxbxx"));
    CHECK(matches_glob("a*b", "ab_ab"));
    CHECK_FALSE(matches_glob("a*b", "ab_abc"));
    CHECK(matches_glob("gemv**", "gemv"));
}

TEST_CASE("a pattern of many stars takes no longer than its length") {
    std::string pattern;
    for (int i = 0; i < 40; ++i) pattern += "*a";
    CHECK(matches_glob(pattern, std::string(1000, 'a')));
    CHECK_FALSE(matches_glob(pattern + "b", std::string(1000, 'a')));
}

}  // namespace
}  // namespace hetune
