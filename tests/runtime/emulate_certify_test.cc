// The gfx1100 object of every template, instruction by instruction, against the oracle: the trials
// of certificates on small models with tails, under both orders of waves and with registers and
// LDS poisoned. Skipped without HETUNE_EMULATOR. Objects are clang's, and those of other compilers
// that HETUNE_EMULATE_OBJECTS has (docs/testing.md).
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "kernel_templates/quant/registry.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/device/emulator_device.h"
#include "runtime/load/model_plans.h"
#include "runtime/trial/certify.h"
#include "tests/runtime/emulated_objects.h"
#include "tests/skip.h"
#include "tools/synth/quant_mix.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

// What registers and LDS hold at first: as a float a NaN, as half of an address nowhere.
constexpr const char* kPoison = "0x7fc0dead";
// tinygrad reads and writes back LDS at the addresses of inactive lanes too, and ends with a fault
// of the host where one is kPoison. Such a kernel gets a word that is an address in LDS, and as a
// half still a NaN.
constexpr const char* kLdsPoison = "0x00007ea4";
// Where inactive lanes have numbers of the kernel's own there, no poison helps, but an emulator
// with memory behind its LDS (docs/testing.md). Without, these do not run:
const std::set<std::string> kMayFault = {"expert_groups"};

// HETUNE_EMULATE_ONLY="scale,sample": these templates alone; all take an hour.
bool is_asked_for(const std::string& kernel) {
    const char* only = std::getenv("HETUNE_EMULATE_ONLY");
    return only == nullptr ||
           fmt::format(",{},", only).find("," + kernel + ",") != std::string::npos;
}

// Accesses of active lanes are checked before, and have other words.
bool inactive_lane_fault(const std::string& failure) {
    const size_t fault = failure.find("fault: host memory fault");
    return fault != std::string::npos && failure.find(": ds_", fault) != std::string::npos;
}

bool no_emulator() {
    if (!read_environment().emulator.empty()) return false;
    testing::skip("HETUNE_EMULATOR names no program");
    return true;
}

// In a folder of the test case's own: they run at the same time, in processes of their own.
std::string written(const testing::EmulatedModel& model, const std::string& quant,
                    const std::string& test) {
    return testing::written_model(model, quant, HETUNE_BUILD_DIR "/test-models/emulated-" + test);
}

// What has been tried already in this test, so that models share kernels.
struct Tried {
    std::set<std::pair<KernelSpec, int>> kernels;  // for one row, a prompt's rows, or sequences
    std::set<std::string> templates;
    std::set<std::string> lds_poison;    // templates that needed it
    std::set<std::string> faulted;       // and those that did not run to the end with it
    std::map<std::string, int> objects;  // by compiler
};

bool has_quant(const KernelSpec& spec) {
    return std::ranges::any_of(spec.constants, [](const auto& constant) {
        return find_quant(constant.second) != nullptr;
    });
}

// Tries the kernels of the model's plans that `wanted` takes.
void try_model(const std::string& path, const LoadOptions& options, const std::string& schedule,
               bool (*wanted)(const KernelSpec&), Tried& tried) {
    const ModelFile file(path);
    const LayerGraph graph = build_layer_graph(file);
    const Arch& arch = find_arch("gfx1100");
    const ModelPlans plans = model_plans(graph, file, arch, options);
    const auto open = [&](const char* poison) {
        return open_emulator(read_environment().emulator, "gfx1100",
                             {.schedule = schedule, .poison = poison});
    };
    const std::unique_ptr<Device> poisoned = open(kPoison), lds_poisoned = open(kLdsPoison);
    testing::EmulatedObjects objects(arch);
    std::vector<const Plan*> list;  // as LoadedModel has them, the most rows foremost
    for (const auto* of : {&plans.samplers, &plans.steps})
        for (const Plan& plan : *of) list.insert(list.begin(), &plan);
    for (const Plan* plan : list)
        for (size_t i = 0; i < plan->kernels.size(); ++i) {
            const KernelSpec& spec = plan->kernels[i];
            const PlanStep& step = plan->first_use(static_cast<int>(i));
            const int rows = plan->options.rows;
            if (!wanted(spec) || !is_asked_for(spec.name)) continue;
            const int sort = rows == 1 ? 0 : plan->options.decodes() ? 2 : 1;
            if (!tried.kernels.insert({spec, sort}).second) continue;
            tried.templates.insert(spec.name);
            // A tile of tokens that the step fills is tried with a row less, too.
            std::vector<std::optional<int64_t>> counts = {std::nullopt};
            const auto tokens = spec.constants.find("kTokens");
            if (sort == 2 && tokens != spec.constants.end() && std::stoi(tokens->second) == rows)
                counts.push_back(rows - 1);
            fmt::print("{} {} rows {}\n", schedule, plan->options.rows, spec.to_string());
            std::fflush(stdout);
            for (const auto& [compiler, code] : objects.of(spec)) {
                const auto trial = [&](Device& on, std::optional<int64_t> count) -> std::string {
                    const auto module = on.load(code);
                    TrialDevice device{.device = on};
                    try {
                        return try_out({device, *module, *plan, step, file, {}, count}).failure;
                    } catch (const DeviceError& error) {
                        return error.what();
                    }
                };
                ++tried.objects[compiler];
                for (const std::optional<int64_t> count : counts) {
                    std::string failure = trial(*poisoned, count);
                    if (inactive_lane_fault(failure)) {
                        tried.lds_poison.insert(spec.name);
                        failure = trial(*lds_poisoned, count);
                    }
                    if (inactive_lane_fault(failure) && kMayFault.contains(spec.name)) {
                        tried.faulted.insert(spec.name);
                        continue;
                    }
                    INFO(compiler, ": ", spec.to_string());
                    CAPTURE(rows);
                    CHECK(failure == "");
                }
            }
        }
}

// Attention of several sequences where `attention_step` is refused.
void try_refused_attention(const std::string& schedule, Tried& tried) {
    const std::string path = written({testing::emulated_dense(), {}}, "Q4_K_M", schedule);
    const ModelFile file(path);
    LoadOptions options{.sequences = 32, .prefill_rows = 9};
    const LayerGraph graph = build_layer_graph(file);
    // A refused kernel gives way to one of fewer waves first.
    for (bool refused = true; refused;) {
        refused = false;
        for (const KernelSpec& spec :
             model_plans(graph, file, find_arch("gfx1100"), options).kernels())
            if (spec.name == "attention_step")
                refused |= options.refused.emplace(spec.to_string(), "by the test").second;
    }
    try_model(
        path, options, schedule,
        [](const KernelSpec& spec) {
            return spec.name == "kv_write" || spec.name.starts_with("attention_") ||
                   spec.name == "head_norm_rope";
        },
        tried);
}

// Of every template, by each compiler; none left out.
void try_templates(const std::string& schedule) {
    Tried tried;
    for (const testing::EmulatedModel& model : testing::emulated_models())
        for (const LoadOptions& session : model.sessions)
            try_model(
                written(model, "Q4_K_M", schedule), session, schedule,
                [](const KernelSpec&) { return true; }, tried);
    try_refused_attention(schedule, tried);
    for (const auto& [compiler, objects] : tried.objects)
        MESSAGE(objects, " objects by ", compiler);
    MESSAGE("with a poison that is an address in LDS: ",
            fmt::format("{}", fmt::join(tried.lds_poison, " ")));
    MESSAGE("NOT RUN, for want of memory behind the emulator's LDS: ",
            fmt::format("{}", fmt::join(tried.faulted, " ")));
    for (const TemplateInfo* info : all_templates()) {
        if (info->layer == "bench" || !is_asked_for(info->name)) continue;
        CAPTURE(info->name);
        CHECK(tried.templates.contains(info->name));
    }
    for (const auto& folder : testing::EmulatedObjects::others()) {
        const std::string compiler = folder.filename();
        INFO("objects by ", compiler, ", of this source; `ctest -L rocm` makes them anew");
        CHECK(tried.objects[compiler] == tried.objects["clang"]);
    }
}

TEST_CASE("Emulated gfx1100 passes the trials of every template, waves in order") {
    if (!no_emulator()) try_templates("seq");
}

TEST_CASE("Emulated gfx1100 passes the trials of every template, waves of a group in reverse") {
    if (!no_emulator()) try_templates("rev");
}

TEST_CASE("Emulated gfx1100 passes the trials of every quantisation") {
    if (no_emulator()) return;
    Tried tried;
    for (const std::string& quant : quant_mixes())
        for (const ModelShape& shape : {testing::emulated_dense(), testing::emulated_hybrid()})
            for (const int rows : {3, 45})
                try_model(written({shape, {}}, quant, "quants"), {.prefill_rows = rows}, "seq",
                          has_quant, tried);
}

}  // namespace
}  // namespace hetune
