// Turns source text into code objects. Implementations: clang (runtime/compile/clang.cc), hipRTC,
// comgr, NVRTC (runtime/compile/library_compiler.h); each registers itself and is found at run
// time, and each compiles in another process, so that its death is an error like any other.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cache/code_object.h"
#include "kernel_templates/catalogue.h"
#include "planner/file/errors.h"
#include "planner/plan/arch.h"
#include "runtime/compile/environment.h"

namespace hetune {

// One kernel to compile. Sources are self-contained: every header is already inside.
struct CompileRequest {
    std::string entry;   // the extern "C" kernel, also its name in messages
    std::string source;  // HIP C++, one translation unit
    Arch arch;
    // Asked about ten times a second while the compiler works, by the thread that waits; true ends
    // the compiler and throws CompileError{kGivenUp}.
    std::function<bool()> given_up = {};
};

class Compiler {
  public:
    virtual ~Compiler() = default;
    virtual std::string name() const = 0;  // "clang", "hiprtc", "comgr", "nvrtc"
    // Changes whenever the output could: name, version, build id of the library file. Part of keys.
    virtual std::string identity() const = 0;
    // The options of a compile for this arch, in the order the compiler gets them. Part of keys.
    virtual std::vector<std::string> options(const Arch& arch) const = 0;
    // Tried out with a small kernel where the compiler itself does not tell.
    virtual bool supports(const Arch& arch) const = 0;
    // Throws CompileError. Fills CodeObject::resources from the object. Safe to call from several
    // threads.
    virtual CodeObject compile(const CompileRequest& request) = 0;
};

struct CompilerKind {
    std::string name;
    std::vector<TargetFamily> families;  // what it may compile for
    int preference = 0;                  // the highest that is found is taken
    std::string install;                 // "apt install clang-19 lld-19"
    // Empty when it is not on this machine, CompileError{kNoCompiler} when it is and cannot be
    // used. Cheap but for the first time, since every start asks.
    std::function<std::unique_ptr<Compiler>(const Environment&)> find;
};
std::vector<CompilerKind>& compiler_kinds();
struct RegisterCompiler {
    explicit RegisterCompiler(CompilerKind kind);
};

// The compiler for an arch, in DESIGN's order of choice (AMD: hipRTC, comgr, clang; NVIDIA: NVRTC;
// CPU: clang), or the one named. Throws CompileError{kNoCompiler} that says what to install.
std::unique_ptr<Compiler> choose_compiler(const Arch& arch, const Environment& environment,
                                          std::string_view forced = {});

// The source of a kernel `probe` that does next to nothing, to see whether a compiler works.
std::string smallest_kernel(TargetFamily family);

}  // namespace hetune
