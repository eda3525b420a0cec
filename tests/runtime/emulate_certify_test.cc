// The gfx1100 object of every template, instruction by instruction, against the oracle: the trials
// of certificates on small models with tails, under both orders of waves and with registers and
// LDS poisoned. Skipped without HETUNE_EMULATOR. Objects are clang's, and those of other compilers
// that HETUNE_EMULATE_OBJECTS has (docs/testing.md).
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "kernel_templates/quant/registry.h"
#include "planner/synth/quant_mix.h"
#include "planner/synth/synthetic.h"
#include "runtime/certify/certify.h"
#include "runtime/emulator_device.h"
#include "runtime/kernel_library.h"
#include "runtime/session_plans.h"
#include "runtime/weights.h"
#include "tests/runtime/emulated_objects.h"

namespace hetune {
namespace {

bool no_emulator() {
    if (!read_environment().emulator.empty()) return false;
    MESSAGE("skipped: HETUNE_EMULATOR names no program");
    return true;
}

std::string written(const ModelShape& shape, const std::string& quant) {
    return testing::written_model(shape, quant, HETUNE_BUILD_DIR "/test-models");
}

// What has been tried already in this process, so that models share kernels.
struct Tried {
    std::set<std::string> kernels;
    std::set<std::string> templates;
    int others = 0;
    int unpoisoned = 0;
};

constexpr const char* kPoison = "0x7fc0dead";

// Tries the kernels of the model's plans, or those with a Quant among their constants only.
void try_model(const std::string& path, const SessionOptions& options, const EmulatorOptions& how,
               bool quants_only, Tried& tried) {
    const ModelFile file(path);
    const LayerGraph graph = build_layer_graph(file);
    const auto device = open_emulator(read_environment().emulator, "gfx1100", how);
    const SessionPlans plans = session_plans(graph, file, device->arch(), options);
    Weights weights(*device, file, graph, nullptr);
    weights.load(plans.buffers());
    const auto clean =
        open_emulator(read_environment().emulator, "gfx1100", {.schedule = how.schedule});
    Weights clean_weights(*clean, file, graph, nullptr);
    clean_weights.load(plans.buffers());
    testing::EmulatedObjects objects(device->arch());
    std::vector<const Plan*> list = {&plans.sampler};
    for (const Plan& plan : plans.steps) list.push_back(&plan);
    for (const Plan* plan : list)
        for (const PlanStep& step : plan->steps) {
            const bool with_quant = std::ranges::any_of(
                step.spec.constants,
                [](const auto& constant) { return find_quant(constant.second) != nullptr; });
            if (quants_only && !with_quant) continue;
            if (!tried.kernels.insert(step.spec.to_string()).second) continue;
            tried.templates.insert(step.spec.name);
            for (const auto& [compiler, code] : objects.of(step.spec)) {
                const auto trial = [&](Device& on, const Weights& loaded) {
                    const auto module = on.load(code);
                    return try_out({on, *module, *plan, step, graph, file,
                                    [&](const std::string& name) { return loaded.find(name); }});
                };
                Certificate certificate = trial(*device, weights);
                // tinygrad's emulator reads LDS through the addresses of inactive lanes, which are
                // poison then; such a kernel runs without.
                if (certificate.failure.find("host memory fault") != std::string::npos) {
                    certificate = trial(*clean, clean_weights);
                    ++tried.unpoisoned;
                }
                INFO(compiler, ": ", step.spec.to_string());
                CHECK(certificate.failure == "");
            }
        }
    tried.others += objects.others_found();
}

TEST_CASE("Emulated gfx1100 passes the trials of every template, waves in order and LDS poisoned") {
    if (no_emulator()) return;
    Tried tried;
    for (const auto& [shape, sessions] : testing::emulated_models())
        for (const SessionOptions& session : sessions)
            try_model(written(shape, "Q4_K_M"), session, {.schedule = "seq", .poison = kPoison},
                      false, tried);
    MESSAGE(tried.kernels.size(), " kernels by clang, ", tried.others,
            " objects of other compilers");
    for (const TemplateInfo* info : all_templates()) {
        if (info->layer == "bench") continue;
        CAPTURE(info->name);
        CHECK(tried.templates.contains(info->name));
    }
}

TEST_CASE("Emulated gfx1100 passes the trials with the waves of a group in reverse") {
    if (no_emulator()) return;
    Tried tried;
    for (const auto& [shape, sessions] : testing::emulated_models())
        try_model(written(shape, "Q4_K_M"), sessions.back(), {.schedule = "rev", .poison = kPoison},
                  false, tried);
}

TEST_CASE("Emulated gfx1100 passes the trials of every quantisation") {
    if (no_emulator()) return;
    Tried tried;
    for (const std::string& quant : quant_mixes())
        try_model(written(testing::emulated_dense(), quant), {.prefill_rows = 3},
                  {.poison = kPoison}, true, tried);
}

}  // namespace
}  // namespace hetune
