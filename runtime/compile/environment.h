// The one place where the runtime reads environment variables.
#pragma once

#include <chrono>
#include <string>

namespace hetune {

struct Environment {
    std::string template_dir;                     // HETUNE_TEMPLATE_DIR: instead of the embedded
    std::string clang;                            // HETUNE_CLANG: the compiler to use
    std::string worker;                           // HETUNE_WORKER: the compile worker program
    std::string hiprtc;                           // HETUNE_HIPRTC_LIBRARY
    std::string hip_library;                      // HETUNE_HIP_LIBRARY: instead of libamdhip64
    std::string emulator;                         // HETUNE_EMULATOR: program, see docs/testing.md
    std::string emulator_arch;                    // HETUNE_EMULATOR_ARCH; default gfx1100
    std::string nvrtc;                            // HETUNE_NVRTC_LIBRARY
    std::string cublas;                           // HETUNE_CUBLAS_LIBRARY: for `hetune bench`
    std::string llvm;                             // HETUNE_LLVM_LIBRARY: the disassembler
    std::string cpu_arch;                         // HETUNE_CPU_ARCH: of the cpu device
    std::string cache_folder;                     // where compilers.json goes; empty: nowhere
    std::string rocm_path;                        // ROCM_PATH
    std::chrono::milliseconds compile_timeout{};  // HETUNE_COMPILE_TIMEOUT, seconds; default 120
    // Take a kernel of another build of the compiler out of a signed bundle
    bool any_compiler_build = false;
    bool no_jit = false;  // HETUNE_NO_JIT=1
    std::string tune;     // HETUNE_TUNE: off, measured, all (tune/tunings_for.h)
};

// Throws std::runtime_error for a value that is no number where one is due.
Environment read_environment();

}  // namespace hetune
