// NVRTC through the worker, with no GPU: every template for sm_90.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <thread>

#include "kernel_templates/catalogue.h"
#include "runtime/compile/compiler.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/load/model_plans.h"
#include "tests/runtime/every_template.h"
#include "tests/skip.h"

namespace hetune::testing {
namespace {

// Empty, and the test case is skipped, where NVRTC is not installed.
std::unique_ptr<Compiler> nvrtc() {
    try {
        return choose_compiler(find_arch("sm_90"), read_environment(), "nvrtc");
    } catch (const CompileError& error) {
        skip(error.what());
        return nullptr;
    }
}

CompileRequest request(const KernelSpec& spec) {
    return {spec.name, TemplateSources().render(spec, TargetFamily::kNvidia), find_arch("sm_90")};
}

// What fails to compile for sm_90, or breaks a static gate; none of `specs` is tried twice.
std::vector<std::string> failures_of(Compiler& compiler, const std::vector<KernelSpec>& specs) {
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    std::vector<std::string> failures;
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t)
        threads.emplace_back([&] {
            for (size_t i = next++; i < specs.size(); i = next++) try {
                    const CodeObject code = compiler.compile(request(specs[i]));
                    check_resources(code, find_arch("sm_90"));
                    const std::lock_guard lock(mutex);
                    if (code.resources.vgprs < 4 || code.resources.max_threads < 32 ||
                        code.resources.code_bytes < 128)
                        failures.push_back(specs[i].to_string() + ": no resources in the cubin");
                } catch (const CompileError& error) {
                    const std::lock_guard lock(mutex);
                    failures.push_back(fmt::format("{}\n{}", error.what(), error.log()));
                }
        });
    threads.clear();
    return failures;
}

TEST_CASE("NVRTC compiles every template for sm_90 within the static gates") {
    const auto compiler = nvrtc();
    if (compiler == nullptr) return;
    const std::vector<KernelSpec> specs = every_template();
    REQUIRE(specs.size() > 30);
    for (const std::string& failure : failures_of(*compiler, specs)) FAIL_CHECK(failure);
}

TEST_CASE("no kernel of the small models is refused on sm_90, with 8-bit and float activations") {
    const auto compiler = nvrtc();
    if (compiler == nullptr) return;
    for (const char* name : {"tiny-Q4_K_M", "mini35-Q4_K_M"}) {
        CAPTURE(name);
        const ModelFile file(fmt::format("{}/{}.gguf", HETUNE_TEST_MODELS, name));
        const LoadOptions sessions[] = {
            {.context = 128},
            {.context = 128, .activations = Activations::kFloat, .kv = KvType::kF32}};
        const auto specs = kernels_of_loads(file, find_arch("sm_90"), sessions);
        for (const std::string& failure : failures_of(*compiler, specs)) FAIL_CHECK(failure);
    }
}

TEST_CASE("NVRTC's identity names version and build, and its errors name kernel and line") {
    const auto compiler = nvrtc();
    if (compiler == nullptr) return;
    CHECK(compiler->identity().starts_with("nvrtc 1"));
    CHECK(compiler->supports(find_arch("sm_90")));
    CHECK_FALSE(compiler->supports(find_arch("gfx1100")));
    Arch future = find_arch("sm_90");
    future.name = "sm_999";
    CHECK_FALSE(compiler->supports(future));
    try {
        compiler->compile({"broken", "extern \"C\" __global__ void broken() { nonsense(); }",
                           find_arch("sm_90")});
        FAIL("compiled");
    } catch (const CompileError& error) {
        CHECK(error.cause() == CompileError::Cause::kSource);
        CHECK(std::string(error.what()).find("compiling broken for sm_90 with nvrtc") == 0);
        CHECK(error.log().find("nonsense") != std::string::npos);
    }
}

TEST_CASE("resources of a cubin are those that ptxas 13.0 reports for the kernel") {
    const auto compiler = nvrtc();
    if (compiler == nullptr) return;
    const char* source = R"(
        extern "C" __global__ __launch_bounds__(96) void other(float* y) { y[threadIdx.x] *= 2; }
        extern "C" __global__ __launch_bounds__(96) void shares(float* y, const int* at) {
            __shared__ float shared[384];
            float local[50];
            for (int i = 0; i < 50; ++i) local[i] = y[i];
            for (int i = 0; i < 50; ++i) local[at[i]] += y[50 + i];
            shared[threadIdx.x] = local[at[threadIdx.x]];
            __syncthreads();
            y[threadIdx.x] = shared[at[0]] + local[at[1]];
        })";
    const CodeObject code = compiler->compile({"shares", source, find_arch("sm_90")});
    CHECK(code.resources.lds_bytes == 384 * 4);
    CHECK(code.resources.scratch_bytes == 200);
    CHECK(code.resources.max_threads == 96);
    CHECK(code.resources.vgprs == 32);
    CHECK_THROWS_AS(check_resources(code, find_arch("sm_90")), CompileError);
}

}  // namespace
}  // namespace hetune::testing
