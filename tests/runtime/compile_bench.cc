// compile_bench ARCH COMPILER WORKERS [full]: milliseconds for one kernel of each template, the way
// the compile service makes them (docs/compilers.md). `full`: all formats of each.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "runtime/compiler.h"
#include "tests/runtime/every_template.h"

int main(int argc, char** argv) try {
    using namespace hetune;
    if (argc < 4) throw std::runtime_error("usage: compile_bench ARCH COMPILER WORKERS [full]");
    const Arch& arch = find_arch(argv[1]);
    const auto compiler = choose_compiler(arch, read_environment(), argv[2]);
    std::vector<CompileRequest> requests;
    for (const KernelSpec& spec : testing::every_template()) {
        const auto quant = spec.constants.find("Quant"), input = spec.constants.find("kQuantisedInput");
        const bool usual = (quant == spec.constants.end() || quant->second == "Q4_K") &&
                           (input == spec.constants.end() || input->second == "true");
        if (usual || argc > 4)
            requests.push_back(
                {spec.name, TemplateSources().render(spec, target_family(arch.family)), arch});
    }
    compiler->compile(requests.front());  // the library is open from here on

    const auto start = std::chrono::steady_clock::now();
    std::atomic<size_t> next = 0;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < std::atoi(argv[3]); ++t)
            threads.emplace_back([&] {
                for (size_t i = next++; i < requests.size(); i = next++) compiler->compile(requests[i]);
            });
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    fmt::print("{} {} {} workers: {} kernels in {:.0f} ms, {:.0f} ms a kernel\n", argv[1], argv[2],
               argv[3], requests.size(), took.count(),
               took.count() / static_cast<double>(requests.size()));
} catch (const std::exception& error) {
    fmt::print(stderr, "compile_bench: {}\n", error.what());
    return 1;
}
