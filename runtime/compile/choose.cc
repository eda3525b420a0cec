#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/compile/compiler.h"

namespace hetune {

std::vector<CompilerKind>& compiler_kinds() {
    static std::vector<CompilerKind> kinds;
    return kinds;
}

RegisterCompiler::RegisterCompiler(CompilerKind kind) {
    auto& kinds = compiler_kinds();
    kinds.push_back(std::move(kind));
    std::ranges::stable_sort(kinds, std::ranges::greater{}, &CompilerKind::preference);
}

std::unique_ptr<Compiler> choose_compiler(const Arch& arch, const Environment& environment,
                                          std::string_view forced) {
    std::vector<std::string> names, install;
    std::string unusable;  // what is installed, and why it is of no use
    for (const CompilerKind& kind : compiler_kinds()) {
        names.push_back(kind.name);
        if (!forced.empty() && kind.name != forced) continue;
        if (std::ranges::find(kind.families, arch.family) == kind.families.end()) {
            if (!forced.empty())
                throw CompileError(
                    CompileError::Cause::kNoCompiler,
                    fmt::format("compiler {} does not compile for {}", forced, arch.name));
            continue;
        }
        install.push_back(kind.install);
        try {
            auto compiler = kind.find(environment);
            if (compiler != nullptr && compiler->supports(arch)) return compiler;
            if (compiler != nullptr)
                unusable += fmt::format(" {} does not compile for it;", compiler->identity());
        } catch (const CompileError& error) {
            if (!forced.empty()) throw;
            unusable += fmt::format(" {};", error.what());
        }
    }
    if (!forced.empty() && std::ranges::find(names, forced) == names.end())
        throw CompileError(
            CompileError::Cause::kNoCompiler,
            fmt::format("unknown compiler '{}'; known: {}", forced, fmt::join(names, ", ")));
    throw CompileError(CompileError::Cause::kNoCompiler,
                       fmt::format("no compiler for {} is installed{};{} to get one: {}", arch.name,
                                   forced.empty() ? "" : fmt::format(" by the name of {}", forced),
                                   unusable, fmt::join(install, ", or ")));
}

std::string smallest_kernel(TargetFamily family) {
    const std::string body = "void probe(int* p) { *p = 1; }\n";
    switch (family) {
        // Attributes only, as in the prelude: no vendor header is read.
        case TargetFamily::kAmd:
            return "extern \"C\" __attribute__((global)) " + body;
        case TargetFamily::kNvidia:
            return "extern \"C\" __global__ " + body;
        case TargetFamily::kCpu:
            break;
    }
    return "extern \"C\" __attribute__((visibility(\"default\"))) " + body;
}

}  // namespace hetune
