// Turns source text into code objects. Implementations: clang (runtime/compile/clang.cc), hipRTC,
// comgr, NVRTC; each registers itself from its own file and is found at run time.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cache/code_object.h"
#include "planner/arch.h"

namespace hetune {

// A kernel that could not be compiled. what(): one line with kernel, arch, compiler and cause;
// log(): everything the compiler said.
class CompileError : public std::runtime_error {
  public:
    enum class Cause { kSource, kCrash, kTimeout, kGate, kNoCompiler };
    CompileError(Cause cause, const std::string& line, std::string log = {})
        : std::runtime_error(line), cause_(cause), log_(std::move(log)) {}
    Cause cause() const { return cause_; }
    const std::string& log() const { return log_; }

  private:
    Cause cause_;
    std::string log_;
};

// One kernel to compile. Sources are self-contained: every header is already inside.
struct CompileRequest {
    std::string entry;                 // the extern "C" kernel, also its name in messages
    std::string source;                // HIP C++, one translation unit
    std::string arch;                  // "gfx1100"
    std::vector<std::string> options;  // on top of the compiler's own fixed set
};

class Compiler {
  public:
    virtual ~Compiler() = default;
    virtual std::string name() const = 0;  // "clang", "hiprtc", "comgr", "nvrtc"
    // Changes whenever the output could: name, version, build id of the library file. Part of keys.
    virtual std::string identity() const = 0;
    virtual bool supports(const Arch& arch) const = 0;
    // Throws CompileError. Fills CodeObject::resources from the object. Safe to call from several
    // threads.
    virtual CodeObject compile(const CompileRequest& request) = 0;
};

// The compiler for an arch, in DESIGN's order of choice (AMD: hipRTC, comgr, clang; NVIDIA: NVRTC;
// CPU: clang), or the one named. Throws CompileError{kNoCompiler} that says what to install.
std::unique_ptr<Compiler> choose_compiler(const Arch& arch, std::string_view forced = {});

}  // namespace hetune
