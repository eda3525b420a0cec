// compile_matrix COMPILER ARCH...: one kernel of each template by one compiler for some archs,
// gates included, as JSON. tools/compile-matrix makes docs/compile-matrix.md of it.
#include <fmt/format.h>

#include <atomic>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "runtime/compile/kernel_library.h"
#include "tests/runtime/every_template.h"

namespace {

using namespace hetune;
using Json = nlohmann::ordered_json;

// Template -> "", why there is no kernel, or null for one that is not for this arch.
Json compile_templates(Compiler& compiler, const Arch& arch) {
    std::vector<KernelSpec> specs;
    Json results;
    for (const KernelSpec& spec : testing::every_template()) {
        if (find_template(spec.name)->promises.matrix && !arch.has_matrix &&
            !arch.on_host) {  // which emulates them
            results[spec.name] = nullptr;
            continue;
        }
        const auto quant = spec.constants.find("Quant"),
                   input = spec.constants.find("kQuantisedInput");
        if ((quant == spec.constants.end() || quant->second == "Q4_K") &&
            (input == spec.constants.end() || input->second == "true"))
            specs.push_back(spec);
    }
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t)
        threads.emplace_back([&] {
            for (size_t i = next++; i < specs.size(); i = next++) {
                std::string failure;
                try {
                    check_resources(
                        compiler.compile(
                            {specs[i].name, TemplateSources().render(specs[i], arch.family), arch}),
                        arch);
                } catch (const CompileError& error) {
                    failure = error.what();
                }
                const std::lock_guard lock(mutex);
                results[specs[i].name] = failure;
            }
        });
    threads.clear();
    return results;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 3) throw std::runtime_error("usage: compile_matrix COMPILER ARCH...");
    Json report = {{"compiler", argv[1]}, {"archs", Json::object()}};
    for (int i = 2; i < argc; ++i) {
        const Arch& arch = find_arch(argv[i]);
        std::unique_ptr<Compiler> compiler;
        try {
            compiler = choose_compiler(arch, read_environment(), argv[1]);
        } catch (const CompileError&) {
            continue;  // not here, or not for this family
        }
        report["identity"] = compiler->identity();
        if (compiler->supports(arch))
            report["archs"][arch.name] = compile_templates(*compiler, arch);
    }
    fmt::print("{}\n", report.dump(1));
} catch (const std::exception& error) {
    fmt::print(stderr, "compile_matrix: {}\n", error.what());
    return 1;
}
