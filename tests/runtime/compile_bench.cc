// Time of the compile service (docs/compilers.md):
//   compile_bench ARCH COMPILER WORKERS [full]   one kernel of each template, each in a program of
//                                                its own; `full`: all formats of each
//   compile_bench ARCH COMPILER WORKERS many     the same kernels, as many to a program as there
//                                                are workers to share them (clang only)
//   compile_bench keys MODEL ARCH                sources and keys of all kernels of a session's
//   plans
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "runtime/compile/kernel_library.h"
#include "runtime/load/model_plans.h"
#include "tests/runtime/every_template.h"

namespace {

using namespace hetune;
using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

int keys(const std::string& model, const std::string& arch_name) {
    const Arch& arch = find_arch(arch_name);
    const ModelFile file(model, ModelFile::Open::kHeaderOnly);
    const LayerGraph graph = build_layer_graph(file);
    CodeStore store{CacheOptions{}};
    const KernelLibrary library(arch, store, read_environment());
    double plan_ms = 1e9, key_ms = 1e9;
    size_t count = 0;
    for (int run = 0; run < 10; ++run) {  // the shortest: others use the machine too
        auto start = Clock::now();
        const std::vector<KernelSpec> kernels = model_plans(graph, file, arch, {}).kernels();
        plan_ms = std::min(plan_ms, ms_since(start));
        start = Clock::now();
        for (const KernelSpec& spec : kernels) static_cast<void>(library.key(spec));
        key_ms = std::min(key_ms, ms_since(start));
        count = kernels.size();
    }
    fmt::print("{}: {} kernels; plans {:.1f} ms, sources and keys {:.1f} ms\n", arch.name, count,
               plan_ms, key_ms);
    return 0;
}

// The text of several kernels as one program. Each is a translation unit of its own: templates
// define helpers and constants of the same names.
std::string in_one_program(const std::vector<CompileRequest>& requests, size_t first, size_t step) {
    std::string program;
    for (size_t i = first; i < requests.size(); i += step)
        program += fmt::format("namespace kernel_{} {{\n{}\n}}\n", i, requests[i].source);
    return program;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc == 4 && std::string(argv[1]) == "keys") return keys(argv[2], argv[3]);
    if (argc < 4)
        throw std::runtime_error(
            "usage: compile_bench ARCH COMPILER WORKERS [full | many], or keys MODEL ARCH");
    const Arch& arch = find_arch(argv[1]);
    const std::string mode = argc > 4 ? argv[4] : "";
    const auto workers = static_cast<size_t>(std::max(1, std::atoi(argv[3])));
    const auto compiler = choose_compiler(arch, read_environment(), argv[2]);
    std::vector<CompileRequest> requests;
    for (const KernelSpec& spec : testing::every_template()) {
        const auto quant = spec.constants.find("Quant"),
                   input = spec.constants.find("kQuantisedInput");
        const bool usual = (quant == spec.constants.end() || quant->second == "Q4_K") &&
                           (input == spec.constants.end() || input->second == "true");
        if (usual || mode == "full")
            requests.push_back({spec.name, TemplateSources().render(spec, arch.family), arch});
    }
    compiler->compile(requests.front());  // the library is open from here on
    const size_t kernels = requests.size();
    if (mode == "many") {
        std::vector<CompileRequest> programs;
        for (size_t w = 0; w < workers; ++w)
            programs.push_back({requests[w].entry, in_one_program(requests, w, workers), arch});
        requests = std::move(programs);
    }

    const auto start = Clock::now();
    std::atomic<size_t> next = 0;
    {
        std::vector<std::jthread> threads;
        for (size_t t = 0; t < workers; ++t)
            threads.emplace_back([&] {
                for (size_t i = next++; i < requests.size(); i = next++)
                    compiler->compile(requests[i]);
            });
    }
    const double took = ms_since(start);
    fmt::print("{} {} {} workers: {} kernels in {} programs, {:.0f} ms, {:.0f} ms a kernel\n",
               arch.name, argv[2], workers, kernels, requests.size(), took,
               took / static_cast<double>(kernels));
} catch (const std::exception& error) {
    fmt::print(stderr, "compile_bench: {}\n", error.what());
    return 1;
}
