// clang and lld as child processes, for AMD and for the CPU: needs no ROCm and no GPU.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "runtime/compile/child.h"
#include "runtime/compile/compiler.h"
#include "runtime/compile/compiler_end.h"
#include "runtime/compile/compiler_patience.h"
#include "runtime/compile/library_compiler.h"
#include "runtime/compile/object_file.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

constexpr int kNewest = 40, kOldest = 17;  // major versions; 17 is the first to know gfx1151

bool runnable(const fs::path& file) { return access(file.c_str(), X_OK) == 0; }

std::optional<fs::path> in_path(const std::string& program) {
    const char* path = std::getenv("PATH");
    std::istringstream folders(path != nullptr ? path : "/usr/bin");
    for (std::string folder; std::getline(folders, folder, ':');)
        if (!folder.empty() && runnable(fs::path(folder) / program))
            return fs::path(folder) / program;
    return std::nullopt;
}

// The newest clang-NN that has its lld beside it, else ROCm's own.
std::optional<fs::path> find_clang(const Environment& environment) {
    if (!environment.clang.empty()) {
        if (!runnable(environment.clang))
            throw CompileError(CompileError::Cause::kNoCompiler,
                               fmt::format("HETUNE_CLANG='{}' is no program", environment.clang));
        return fs::path(environment.clang);
    }
    for (int version = kNewest; version >= kOldest; --version)
        if (auto found = in_path(fmt::format("clang-{}", version)))
            if (std::error_code none;
                runnable(fs::canonical(*found, none).parent_path() / "ld.lld"))
                return found;
    const std::string rocm = environment.rocm_path.empty() ? "/opt/rocm" : environment.rocm_path;
    for (const char* below : {"/llvm/bin/clang", "/lib/llvm/bin/clang"})
        if (runnable(rocm + below)) return fs::path(rocm + below);
    return std::nullopt;
}

// Build ids of the driver, of lld and of the libraries that do the work.
std::string identity_of(const fs::path& clang) {
    std::error_code none;
    const fs::path binary = fs::canonical(clang, none);
    if (none)
        throw CompileError(CompileError::Cause::kNoCompiler,
                           fmt::format("{}: {}", clang.string(), none.message()));
    const fs::path linker = fs::canonical(binary.parent_path() / "ld.lld", none);
    if (none)
        throw CompileError(
            CompileError::Cause::kNoCompiler,
            fmt::format("{} has no ld.lld beside it; install the lld of the same version",
                        binary.string()));
    std::vector<std::string> ids = {build_id(binary), build_id(linker)};
    std::vector<std::string> libraries;
    for (const auto& entry :
         fs::directory_iterator(binary.parent_path().parent_path() / "lib", none)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with("libclang-cpp.so") || name.starts_with("libLLVM"))
            if (name.find(".so") != std::string::npos)
                libraries.push_back(fs::canonical(entry.path(), none).string());
    }
    std::ranges::sort(libraries);
    libraries.erase(std::unique(libraries.begin(), libraries.end()), libraries.end());
    for (const std::string& library : libraries) ids.push_back(build_id(library));
    return fmt::format("{} {}", binary.parent_path().parent_path().filename().string(),
                       fmt::join(ids, " "));
}

// hetune-worker, which ends clang's own children (cc1, ld.lld) when this process is killed.
std::string guard_program(const Environment& environment) {
    try {
        return worker_program(environment).string();
    } catch (const CompileError&) {
        return {};
    }
}

class ClangCompiler : public Compiler {
  public:
    ClangCompiler(fs::path clang, const Environment& environment)
        : clang_(std::move(clang)),
          identity_("clang " + identity_of(clang_)),
          guard_(guard_program(environment)),
          cache_folder_(environment.cache_folder),
          patience_(environment.compile_timeout) {}

    std::string name() const override { return "clang"; }
    std::string identity() const override { return identity_; }
    bool supports(const Arch& arch) const override { return arch.family != TargetFamily::kNvidia; }
    std::vector<std::string> options(const Arch& arch) const override;
    CodeObject compile(const CompileRequest& request) override;

  private:
    CodeObject compile_in(const ScratchFolder& folder, const CompileRequest& request,
                          const std::string& what);

    fs::path clang_;
    std::string identity_;
    std::string guard_;  // empty: there is none, and clang's own children may outlive this process
    std::string cache_folder_;
    CompilerPatience patience_;
};

std::vector<std::string> ClangCompiler::options(const Arch& arch) const {
    if (arch.family == TargetFamily::kAmd)
        // Without -fuse-cuid=none the object depends on the source's path.
        return {"-x",
                "hip",
                "--offload-device-only",
                "--offload-arch=" + arch.name,
                "-nogpulib",
                "-nogpuinc",
                "-O3",
                "-std=c++20",
                "-mcode-object-version=5",
                "--no-gpu-bundle-output",
                "-fuse-cuid=none",
                "-w"};
    std::vector<std::string> options = {"-x",
                                        "c++",
                                        "-std=c++20",
                                        "-O3",
                                        "-march=" + arch.name,
                                        "-fPIC",
                                        "-shared",
                                        "-nostdlib",
                                        "-fuse-ld=lld",
                                        "-ffp-contract=fast",
                                        "-fno-math-errno",
                                        "-fvisibility=hidden",
                                        "-fno-ident",
                                        "-Wl,--build-id=none",
                                        "-w"};
    // The device takes this arch only where the processor has these, too (cpu_device.cc).
    if (arch.name == "x86-64-v4") options.push_back("-mavx512vnni");
    return options;
}

CodeObject ClangCompiler::compile(const CompileRequest& request) {
    const std::string what =
        fmt::format("compiling {} for {} with clang", request.entry, request.arch.name);
    patience_.check(what);
    try {
        return compile_in(ScratchFolder(cache_folder_), request, what);
    } catch (const std::system_error& error) {
        const CompilerEnd end = read_start_failure(error);
        throw CompileError(end.cause, fmt::format("{}: {}", what, end.line));
    }
}

CodeObject ClangCompiler::compile_in(const ScratchFolder& folder, const CompileRequest& request,
                                     const std::string& what) {
    const std::string object = folder.path() + "/object";
    std::vector<std::string> argv;
    if (!guard_.empty()) argv = {guard_, "--guard"};
    argv.push_back(clang_.string());
    for (std::string& option : options(request.arch)) argv.push_back(std::move(option));
    argv.insert(argv.end(), {"-o", object, "-"});

    const auto start = std::chrono::steady_clock::now();
    const ChildResult result =
        run_child(argv, request.source, patience_.limit(), folder.path(), request.given_up);
    const double ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (result.given_up)
        throw CompileError(CompileError::Cause::kGivenUp,
                           fmt::format("{}: {}", what, result.outcome));
    if (result.timed_out) {
        patience_.count_hang();
        throw CompileError(
            CompileError::Cause::kTimeout,
            fmt::format("{}: {}; HETUNE_COMPILE_TIMEOUT sets the limit", what, result.outcome),
            result.errors);
    }
    if (!result.ok()) {
        const CompilerEnd end = read_compiler_end(result.exit_code, result.signal, result.errors);
        throw CompileError(end.cause, fmt::format("{}: {}", what, end.line), result.errors);
    }

    std::ifstream file(object, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    CodeObject code{.entry = request.entry, .compile_ms = ms};
    code.bytes.assign(reinterpret_cast<const std::byte*>(bytes.data()),
                      reinterpret_cast<const std::byte*>(bytes.data()) + bytes.size());
    try {
        code.resources = read_resources(code.bytes, request.entry);
    } catch (const std::runtime_error& error) {
        throw CompileError(CompileError::Cause::kCrash, fmt::format("{}: {}", what, error.what()));
    }
    return code;
}

const RegisterCompiler kClang{{
    .name = "clang",
    .families = {TargetFamily::kAmd, TargetFamily::kCpu},
    .preference = 10,
    .install = "apt install clang-19 lld-19",
    .find = [](const Environment& environment) -> std::unique_ptr<Compiler> {
        const auto clang = find_clang(environment);
        if (!clang) return nullptr;
        return std::make_unique<ClangCompiler>(*clang, environment);
    },
}};

}  // namespace
}  // namespace hetune
