// What objects hold, and the gate on it. The listings are of clang 19 and LLVM 19.
#include "runtime/compile/disassembly.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "runtime/compile/compiler.h"
#include "runtime/compile/kernel_library.h"
#include "tests/runtime/every_template.h"
#include "tests/skip.h"

namespace hetune::testing {
namespace {

TEST_CASE("instructions are counted by kind") {
    const std::string listing =
        "000000\ts_load_b128 s[0:3], s[0:1], 0x0\n"
        "000008\ts_waitcnt lgkmcnt(0)\n"
        "00000c\tglobal_load_b128 v[0:3], v[4:5], off\n"
        "000014\tglobal_load_dwordx4 v[0:3], v[4:5], off\n"
        "00001c\tv_dot4_i32_iu8 v0, v1, v2, v0 neg_lo:[1,1,0]\n"
        "000024\tv_mov_b32_dpp v5, v1 row_xmask:1 row_mask:0xf bank_mask:0xf\n"
        "00002c\tds_bpermute_b32 v0, v1, v2\n"
        "000034\tds_load_b128 v[0:3], v4\n"
        "00003c\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]\n"
        "000044\t<unknown>\n"
        "000048\ts_endpgm\n";
    CHECK(count_instructions(listing) == InstructionMix{.total = 11,
                                                        .dot4 = 1,
                                                        .matrix = 1,
                                                        .wide_loads = 2,
                                                        .lane_moves = 2,
                                                        .lds = 1,
                                                        .scalar = 2,
                                                        .waits = 1,
                                                        .unknown = 1});
    const std::string x86 =
        "000000\tvmovups\t(%rdi), %ymm0\n000004\tvmovups\t%ymm0, (%rsi)\n"
        "000008\tvpmaddubsw\t(%rdi), %ymm1, %ymm2\n00000c\tretq\n";
    CHECK(count_instructions(x86) == InstructionMix{.total = 4, .dot4 = 1, .wide_loads = 2});
}

TEST_CASE(
    "a kernel without the instructions it promises fails the gate, for formats that owe them") {
    const Arch& arch = find_arch("gfx1100");
    auto spec = [](const char* quant, const char* quantised) {
        return KernelSpec{"gemv", {{"Quant", quant}, {"kQuantisedInput", quantised}}};
    };
    const InstructionMix neither{.total = 9}, wide{.total = 9, .wide_loads = 1};
    const InstructionMix both{.total = 9, .dot4 = 1, .wide_loads = 1};
    CHECK_NOTHROW(check_promises(both, spec("Q4_K", "true"), arch));
    CHECK_NOTHROW(check_promises(wide, spec("Q4_K", "false"), arch));
    CHECK_NOTHROW(check_promises(wide, spec("F16", "false"), arch));
    CHECK_THROWS_WITH_AS(
        check_promises(wide, spec("Q4_K", "true"), arch),
        "gemv(Quant=Q4_K, kQuantisedInput=true) for gfx1100: its 9 instructions hold "
        "no 4 x int8 dot product",
        CompileError);
    CHECK_THROWS_WITH_AS(check_promises(neither, spec("F16", "false"), arch),
                         doctest::Contains("hold no 128-bit load"), CompileError);
    CHECK_NOTHROW(check_promises(neither, spec("F16", "false"), find_arch("x86-64-v3")));
    KernelSpec by_matrix = spec("Q4_K", "true");
    by_matrix.constants["kMatrix"] = "true";
    CHECK_NOTHROW(check_promises({.total = 9, .matrix = 1, .wide_loads = 1}, by_matrix, arch));
    CHECK_THROWS_WITH_AS(check_promises(both, by_matrix, arch),
                         doctest::Contains("hold no matrix instruction"), CompileError);
}

struct Tools {
    std::unique_ptr<Compiler> compiler;
    std::unique_ptr<Disassembler> disassembler;
};

// Empty, and the test case is skipped, where clang or LLVM is not installed.
std::optional<Tools> tools(const char* arch) {
    try {
        Tools found{choose_compiler(find_arch(arch), read_environment(), "clang"),
                    find_disassembler(read_environment())};
        if (found.disassembler != nullptr) return found;
        skip("no LLVM library");
    } catch (const CompileError& error) {
        skip(error.what());
    }
    return std::nullopt;
}

void check_promises_of(const std::vector<KernelSpec>& specs, const char* arch_name) {
    auto with = tools(arch_name);
    if (!with) return;
    const Arch& arch = find_arch(arch_name);
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    std::vector<std::string> failures;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 2; ++t)
            threads.emplace_back([&] {
                for (size_t i = next++; i < specs.size(); i = next++) try {
                        // Without matrix units such kernels do not even compile; the CPU emulates
                        // them.
                        if (find_template(specs[i].name)->promises.matrix && !arch.has_matrix &&
                            !arch.on_host)
                            continue;
                        const CodeObject code = with->compiler->compile(
                            {specs[i].name, TemplateSources().render(specs[i], arch.family), arch});
                        const InstructionMix mix =
                            count_instructions(with->disassembler->listing(code, arch));
                        check_promises(mix, specs[i], arch);
                        if (mix.total < 10 || mix.unknown > 0)
                            throw CompileError(
                                CompileError::Cause::kGate,
                                fmt::format("{}: {} instructions, {} unknown", specs[i].to_string(),
                                            mix.total, mix.unknown));
                    } catch (const CompileError& error) {
                        const std::lock_guard lock(mutex);
                        failures.push_back(fmt::format("{}\n{}", error.what(), error.log()));
                    }
            });
    }
    for (const std::string& failure : failures) FAIL_CHECK(failure);
}

// One spec of each template: Q4_K with 8-bit activations, where it takes both.
std::vector<KernelSpec> one_of_each() {
    std::vector<KernelSpec> specs;
    for (const KernelSpec& spec : every_template()) {
        const auto quant = spec.constants.find("Quant"),
                   quantised = spec.constants.find("kQuantisedInput");
        if (quant != spec.constants.end() && quant->second != "Q4_K") continue;
        if (quantised != spec.constants.end() && quantised->second == "false") continue;
        specs.push_back(spec);
    }
    return specs;
}

TEST_CASE("every template in every format holds on gfx1100 what it promises") {
    check_promises_of(every_template(), "gfx1100");
}
TEST_CASE("every template holds on each other AMD arch what it promises") {
    for (const char* arch : {"gfx1030", "gfx1102", "gfx1151", "gfx1200", "gfx1201"})
        check_promises_of(one_of_each(), arch);
}
TEST_CASE("every template for the CPU disassembles whole") {
    check_promises_of(one_of_each(), "x86-64-v3");
}

}  // namespace
}  // namespace hetune::testing
