// gfx1100 objects as compiled, on the emulator that HETUNE_EMULATOR names. Skipped without one.
#include <doctest/doctest.h>

#include <array>
#include <span>

#include "cache/code_store.h"
#include "device_cases.h"
#include "runtime/load/step_state.h"
#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"
#include "tests/run_store.h"
#include "tests/runtime/broken_templates.h"
#include "tests/runtime/small_shapes.h"
#include "tests/runtime/solo.h"
#include "tests/skip.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

std::unique_ptr<Buffer> step_of_one_row(Device& device) {
    const std::vector<int32_t> step = step_state(std::array<StepRow, 1>{}, {});
    auto buffer = device.allocate(step.size() * sizeof(int32_t));
    device.upload(*buffer, 0, std::as_bytes(std::span(step)));
    return buffer;
}

bool no_emulator() {
    for (const Backend& backend : backends()) {
        if (backend.name != "emulator") continue;
        const std::string why = backend.unavailable();
        if (!why.empty()) testing::skip(why);
        return !why.empty();
    }
    return true;
}

TEST_CASE("Emulated gfx1100 runs kernels with tails, barriers and several modules at once") {
    if (no_emulator()) return;
    const auto device = open_device("emulator");
    test::runs_kernels(*device, device->arch().name);
}

TEST_CASE("Emulated gfx1100 writes memory of the host") {
    if (no_emulator()) return;
    const auto device = open_device("emulator");
    test::writes_host_memory(*device, device->arch().name);
}

TEST_CASE("Emulated gfx1100 replays what was captured") {
    if (no_emulator()) return;
    const auto device = open_device("emulator");
    test::replays_graphs(*device, device->arch().name);
}

TEST_CASE("An emulated access outside of a buffer is an error that names the kernel") {
    if (no_emulator()) return;
    const auto device = open_device("emulator");
    const auto add = device->load(test::compile(test::binary("Add", 64, 2), device->arch().name));
    const auto step_buffer = step_of_one_row(*device);
    const auto small = test::put(*device, std::vector<float>(63));
    CHECK_THROWS_WITH_AS(
        device->launch(*add, {.threads = 64},
                       test::pointers({step_buffer.get(), small.get(), small.get(), small.get()})),
        doctest::Contains("emulator: binary: fault: out-of-bounds"), DeviceError);
}

TEST_CASE("A barrier that a kernel lacks is an error of the emulation, whatever it computes") {
    if (no_emulator()) return;
    testing::BrokenTemplates templates;
    templates.replace("prelude/amdgcn.h", "    __builtin_amdgcn_s_barrier();\n", "");
    const auto device = open_device("emulator");
    const KernelSpec spec = test::rmsnorm(64, 2);
    const auto norm = device->load(
        choose_compiler(device->arch(), read_environment())
            ->compile({spec.name,
                       TemplateSources(templates.path()).render(spec, TargetFamily::kAmd),
                       device->arch()}));
    const auto step_buffer = step_of_one_row(*device);
    const auto x = test::put(*device, std::vector<float>(64, 1.0f));
    CHECK_THROWS_WITH_AS(
        device->launch(*norm, {.threads = 64},
                       test::pointers({step_buffer.get(), x.get(), x.get(), x.get()})),
        doctest::Contains("emulator: rmsnorm: findings: "), DeviceError);
}

// In steps of `rows`, then one token: the last row's logits of both.
void prefill_and_decode_tiny(int rows, size_t prompt) {
    const ModelFile file(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf");
    const auto device = open_device("emulator");
    CodeStore store({.folder = run_store()});
    KernelLibrary library(device->arch(), store, read_environment());
    // emulate_certify_test is about kernels one by one.
    Solo session(file, *device, library, nullptr,
                 {.context = 64, .prefill_rows = rows, .memory_limit = 1 << 30}, {},
                 {.certify = CertifyMode::kOff});
    REQUIRE(session.options().refused.empty());
    ReferenceEngine oracle(file, build_layer_graph(file), 64);
    OneSequence wanted(oracle);
    const std::vector<int32_t> tokens = some_tokens(prompt + 1);
    for (const auto part : {std::span(tokens).first(prompt), std::span(tokens).last(1)}) {
        const auto distance = compare_logits(wanted.forward(part, false),
                                             session.forward(part, false), session.vocabulary());
        MESSAGE("KL ", distance.mean_kl);
        CHECK(distance.mean_kl < 1.5e-3);  // 8-bit activations, as in model_test
        CHECK(distance.top1 == 100.0);
    }
}

TEST_CASE("Emulated gfx1100 prefills and decodes the tiny model with the oracle's logits") {
    if (!no_emulator()) prefill_and_decode_tiny(3, 3);
}

TEST_CASE("Emulated gfx1100 prefills the tiny model on the matrix units, a whole step and a tail") {
    if (!no_emulator()) prefill_and_decode_tiny(35, 38);
}

TEST_CASE(
    "Emulated gfx1100 runs a hybrid model: delta net in chunks, then token by token, KV cache in 8 "
    "bits") {
    if (no_emulator()) return;
    ModelShape shape = with_delta_net(small("qwen35"));
    shape.layers = 2;
    shape.inner = 256;
    const std::string path = HETUNE_BUILD_DIR "/emulated-hybrid.gguf";
    write_synthetic(shape, {.quant = "F16"}, path);
    const ModelFile file(path);
    const auto device = open_device("emulator");
    CodeStore store({.folder = run_store()});
    KernelLibrary library(device->arch(), store, read_environment());
    Solo session(file, *device, library, nullptr,
                 {.context = 64, .prefill_rows = 34, .kv = KvType::kQ8, .memory_limit = 1 << 30});
    REQUIRE(session.options().refused.empty());
    ReferenceEngine oracle(file, build_layer_graph(file), 64);
    OneSequence wanted(oracle);
    const std::vector<int32_t> tokens = some_tokens(35);
    for (const auto part : {std::span(tokens).first(34), std::span(tokens).last(1)}) {
        const auto distance = compare_logits(wanted.forward(part, false),
                                             session.forward(part, false), session.vocabulary());
        MESSAGE("KL ", distance.mean_kl);
        CHECK(distance.mean_kl < 1e-4);
    }
}

}  // namespace
}  // namespace hetune
