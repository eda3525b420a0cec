// A compiler that is a shared library (hipRTC, comgr, NVRTC): found as a file, opened only in
// worker processes.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/compile/compiler.h"

namespace hetune {

struct LibraryKind {
    std::string name;  // what hetune-worker knows it by
    TargetFamily family;
    std::string baseline_arch;  // one that all its versions compile for
    std::vector<std::string> (*options)(const std::string& arch);
};

// Asks the library, in a worker, who it is, unless that is known from another run and no file has
// changed (compiler_facts.h). Throws CompileError{kNoCompiler} when it cannot be opened or does
// not compile for the baseline arch.
std::unique_ptr<Compiler> open_library_compiler(const LibraryKind& kind,
                                                const std::filesystem::path& library,
                                                const Environment& environment);

// The first of `names` in the first of `folders` that has one; then, in the same order, in the
// folders of the system's loader. Opens nothing.
std::optional<std::filesystem::path> find_library(
    const std::vector<std::string>& names, const std::vector<std::filesystem::path>& folders);

// ROCM_PATH, /opt/rocm, then /opt/rocm-* from the highest version down; library folders.
std::vector<std::filesystem::path> rocm_library_folders(const Environment& environment);

// HETUNE_WORKER, or libexec/hetune/hetune-worker next to the folder of the program or library that
// this code is in. Throws CompileError{kNoCompiler}.
std::filesystem::path worker_program(const Environment& environment);

}  // namespace hetune
