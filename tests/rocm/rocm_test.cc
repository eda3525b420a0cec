// The real hipRTC and comgr, through the worker, with no GPU: run by run.sh inside a Debian root.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "kernel_templates/catalogue.h"
#include "runtime/compile/compiler.h"
#include "runtime/compile/kernel_library.h"
#include "tests/runtime/every_template.h"
#include "tests/skip.h"

namespace hetune::testing {
namespace {

// Empty, and the test case is skipped, where the compiler is not installed.
std::unique_ptr<Compiler> compiler_named(const std::string& name) {
    try {
        return choose_compiler(find_arch("gfx1100"), read_environment(), name);
    } catch (const CompileError& error) {
        if (std::getenv("HETUNE_REQUIRE_ROCM") != nullptr) throw;
        skip(error.what());
        return nullptr;
    }
}

struct Sweep {
    size_t compiled = 0;
    double seconds = 0;
    std::vector<std::string> failures;
};

Sweep compile_every_template(Compiler& compiler, const Arch& arch) {
    const std::vector<KernelSpec> specs = every_template();
    const auto start = std::chrono::steady_clock::now();
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    Sweep sweep;
    {
        std::vector<std::jthread> threads;
        for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t)
            threads.emplace_back([&] {
                for (size_t i = next++; i < specs.size(); i = next++) try {
                        const CodeObject code = compiler.compile(
                            {specs[i].name, TemplateSources().render(specs[i], TargetFamily::kAmd),
                             arch});
                        check_resources(code, arch);
                        const std::lock_guard lock(mutex);
                        ++sweep.compiled;
                    } catch (const CompileError& error) {
                        const std::lock_guard lock(mutex);
                        sweep.failures.push_back(fmt::format("{}: {}\n{}", specs[i].to_string(),
                                                             error.what(), error.log()));
                    }
            });
    }
    sweep.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return sweep;
}

void check_sweep(const std::string& name, const std::string& arch) {
    const auto compiler = compiler_named(name);
    if (compiler == nullptr) return;
    const Sweep sweep = compile_every_template(*compiler, find_arch(arch));
    MESSAGE(fmt::format("{}: {} kernels for {} in {:.2f} s", compiler->identity().substr(0, 11),
                        sweep.compiled, arch, sweep.seconds));
    CHECK(sweep.compiled > 30);
    for (const std::string& failure : sweep.failures) FAIL_CHECK(failure);
}

TEST_CASE("hipRTC compiles every template for gfx1100 within the static gates") {
    check_sweep("hiprtc", "gfx1100");
}
TEST_CASE("hipRTC compiles every template for gfx1151 within the static gates") {
    check_sweep("hiprtc", "gfx1151");
}
TEST_CASE("comgr alone compiles every template for gfx1100 within the static gates") {
    check_sweep("comgr", "gfx1100");
}
TEST_CASE("comgr alone compiles every template for gfx1151 within the static gates") {
    check_sweep("comgr", "gfx1151");
}

constexpr const char* kWmma = R"(
    typedef _Float16 half16 __attribute__((ext_vector_type(16)));
    typedef float float8 __attribute__((ext_vector_type(8)));
    extern "C" __attribute__((global)) void wmma(half16* a, half16* b, float8* c) {
        *c = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(*a, *b, *c);
    })";

// The error's line; empty when it compiled.
std::string refusal(Compiler& compiler, const CompileRequest& request) {
    try {
        compiler.compile(request);
        return {};
    } catch (const CompileError& error) {
        MESSAGE(std::string(error.what()));
        return error.what();
    }
}

void check_refusals(const std::string& name) {
    const auto compiler = compiler_named(name);
    if (compiler == nullptr) return;
    Arch unknown = find_arch("gfx1100");
    unknown.name = "gfx9999";
    CHECK_FALSE(compiler->supports(unknown));
    const std::string nothing = "extern \"C\" __attribute__((global)) void nothing() {}";
    CHECK(refusal(*compiler, {"nothing", nothing, unknown})
              .starts_with(fmt::format("compiling nothing for gfx9999 with {}: ", name)));
    Arch rdna2 = find_arch("gfx1100");
    rdna2.name = "gfx1030";
    CHECK(refusal(*compiler, {"wmma", kWmma, rdna2})
              .starts_with(fmt::format("compiling wmma for gfx1030 with {}: ", name)));
    // The compiler's death or refusal did no harm here.
    CHECK_NOTHROW(compiler->compile({"wmma", kWmma, find_arch("gfx1100")}));
    CHECK_NOTHROW(compiler->compile({"nothing", nothing, rdna2}));
}

TEST_CASE("hipRTC: an unknown arch and an instruction the arch lacks are errors, not our death") {
    check_refusals("hiprtc");
}
TEST_CASE("comgr: an unknown arch and an instruction the arch lacks are errors, not our death") {
    check_refusals("comgr");
}

}  // namespace
}  // namespace hetune::testing
