#include "runtime/compile/library_compiler.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <mutex>
#include <thread>

#include "runtime/compile/compiler_end.h"
#include "runtime/compile/compiler_facts.h"
#include "runtime/compile/compiler_patience.h"
#include "runtime/compile/object_file.h"
#include "runtime/compile/pressure.h"
#include "runtime/compile/worker_pool.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

int most_workers() {
    return compiles_at_once(static_cast<int>(std::thread::hardware_concurrency()), read_pressure());
}

// Of all that a compile loads, the files that decide about its output.
bool decides(const fs::path& file) {
    const std::string name = file.filename().string();
    return std::ranges::any_of(
        std::initializer_list<const char*>{"hip", "comgr", "LLVM", "clang", "lld", "nvrtc", "amd"},
        [&](const char* part) { return name.find(part) != name.npos; });
}

class LibraryCompiler final : public Compiler {
  public:
    LibraryCompiler(const LibraryKind& kind, const fs::path& library,
                    const Environment& environment)
        : kind_(kind),
          library_(library),
          facts_folder_(environment.cache_folder),
          patience_(environment.compile_timeout),
          pool_({.argv = {worker_program(environment).string(), kind.name, library.string()},
                 // A library brings its own companions, whatever the user's shell prefers.
                 .settings = {"LD_LIBRARY_PATH=" + library.parent_path().string()},
                 .limit = environment.compile_timeout,
                 .cache_folder = environment.cache_folder,
                 .most = most_workers}) {
        if (auto known = find_facts(facts_folder_, library_)) {
            facts_ = *std::move(known);
            return;
        }
        describe();
        keep_facts(facts_folder_, library_, facts_);
    }

    std::string name() const override { return kind_.name; }
    std::string identity() const override { return facts_.identity; }
    std::vector<std::string> options(const Arch& arch) const override {
        return kind_.options(arch.name);
    }
    bool supports(const Arch& arch) const override;
    CodeObject compile(const CompileRequest& request) override;

  private:
    WorkerMessage request(const char* what, const std::string& entry, const std::string& arch,
                          const std::string& source) const {
        return {{{"do", what}, {"entry", entry}, {"arch", arch}, {"options", kind_.options(arch)}},
                source};
    }
    WorkerMessage ask(const WorkerMessage& question, const std::string& what,
                      const WorkerPool::GivenUp& given_up = {}) const;
    void describe();

    LibraryKind kind_;
    fs::path library_;
    fs::path facts_folder_;
    mutable CompilerPatience patience_;
    mutable WorkerPool pool_;
    mutable std::mutex mutex_;  // of facts_.archs
    mutable CompilerFacts facts_;
};

// Gives only answers that are "done".
WorkerMessage LibraryCompiler::ask(const WorkerMessage& question, const std::string& what,
                                   const WorkerPool::GivenUp& given_up) const {
    using Cause = CompileError::Cause;
    patience_.check(what);
    WorkerMessage answer;
    try {
        answer = pool_.call(question, given_up);
    } catch (const WorkerFailure& failure) {
        if (failure.cause() == WorkerFailure::Cause::kGivenUp)
            throw CompileError(Cause::kGivenUp, fmt::format("{}: {}", what, failure.what()));
        if (failure.cause() == WorkerFailure::Cause::kTimeout) {
            patience_.count_hang();
            throw CompileError(
                Cause::kTimeout,
                fmt::format("{}: {}; HETUNE_COMPILE_TIMEOUT sets the limit", what, failure.what()),
                failure.log());
        }
        CompilerEnd end = read_compiler_end(failure.exit_code(), failure.signal(), failure.log());
        // A worker that ended gave no verdict, whatever it had written before.
        if (end.cause == Cause::kSource || (end.cause == Cause::kCrash && failure.signal() == 0))
            end = {Cause::kCrash, fmt::format("the compiler died: {}", failure.what())};
        throw CompileError(end.cause, fmt::format("{}: {}", what, end.line), failure.log());
    } catch (const std::system_error& error) {
        const CompilerEnd end = read_start_failure(error);
        throw CompileError(end.cause, fmt::format("{}: {}", what, end.line));
    }
    const std::string status = text_field(answer, "status");
    std::string error = text_field(answer, "error");
    if (error.empty()) error = "no reason given";
    if (status == "unavailable")
        throw CompileError(Cause::kNoCompiler, fmt::format("{}: {} cannot be opened: {}", what,
                                                           library_.string(), error));
    if (status == "failed" || status == "broke") {
        const std::string log = text_field(answer, "log");
        CompilerEnd end = read_compiler_log(log + "\n" + error);
        if (end.cause == Cause::kSource && status == "broke") end.cause = Cause::kCrash;
        if (end.cause == Cause::kSource || end.cause == Cause::kCrash) end.line = error;
        throw CompileError(end.cause, fmt::format("{}: {}", what, end.line), log);
    }
    if (status != "done")
        throw CompileError(Cause::kCrash,
                           fmt::format("{}: the worker answered '{}'", what, status));
    return answer;
}

void LibraryCompiler::describe() try {
    const std::string what = fmt::format("asking {} for its version", library_.string());
    const WorkerMessage answer =
        ask(request("describe", "probe", kind_.baseline_arch, smallest_kernel(kind_.family)), what);
    facts_.version = text_field(answer, "version");
    facts_.files = {library_};
    if (const auto loaded = answer.header.find("loaded"); loaded != answer.header.end())
        for (const auto& file : *loaded)
            if (file.is_string() && decides(file.get<std::string>()))
                facts_.files.emplace_back(file.get<std::string>());
    std::vector<std::string> ids;
    for (const fs::path& file : facts_.files) ids.push_back(build_id(file));
    std::ranges::sort(ids);
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    facts_.identity = fmt::format("{} {}", kind_.name, facts_.version);
    for (const std::string& id : ids) facts_.identity += " " + id;
    facts_.archs = {{kind_.baseline_arch, ""}};
} catch (const CompileError& error) {
    throw CompileError(CompileError::Cause::kNoCompiler, error.what(), error.log());
}

bool LibraryCompiler::supports(const Arch& arch) const {
    if (arch.family != kind_.family) return false;
    const std::lock_guard lock(mutex_);
    if (const auto known = facts_.archs.find(arch.name); known != facts_.archs.end())
        return known->second.empty();
    std::string why_not;
    auto probe = [&](const std::string& name) {
        ask(request("compile", "probe", name, smallest_kernel(kind_.family)),
            fmt::format("probing {} for {}", kind_.name, name));
    };
    try {
        probe(arch.name);
    } catch (const CompileError& error) {
        why_not = error.what();
        // A crash may be of the arch or of the machine: the arch where the baseline compiles now.
        // Any other cause says nothing about the library.
        if (error.cause() == CompileError::Cause::kCrash) try {
                probe(kind_.baseline_arch);
            } catch (const CompileError&) {
                return false;
            }
        else if (!error.is_verdict())
            return false;
    }
    facts_.archs[arch.name] = why_not;
    keep_facts(facts_folder_, library_, facts_);
    return why_not.empty();
}

CodeObject LibraryCompiler::compile(const CompileRequest& wanted) {
    const std::string what =
        fmt::format("compiling {} for {} with {}", wanted.entry, wanted.arch.name, kind_.name);
    const auto start = std::chrono::steady_clock::now();
    const WorkerMessage answer = ask(
        request("compile", wanted.entry, wanted.arch.name, wanted.source), what, wanted.given_up);
    CodeObject code{.entry = wanted.entry};
    code.compile_ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    const auto* bytes = reinterpret_cast<const std::byte*>(answer.body.data());
    code.bytes.assign(bytes, bytes + answer.body.size());
    try {
        code.resources = read_resources(code.bytes, wanted.entry);
    } catch (const std::runtime_error& error) {
        throw CompileError(CompileError::Cause::kCrash, fmt::format("{}: {}", what, error.what()),
                           text_field(answer, "log"));
    }
    return code;
}

// The folders that the system's loader searches, from its configuration.
std::vector<fs::path> loader_folders() {
    std::vector<fs::path> folders;
    std::error_code none;
    for (const auto& file : fs::directory_iterator("/etc/ld.so.conf.d", none)) {
        std::ifstream lines(file.path());
        for (std::string line; std::getline(lines, line);)
            if (line.starts_with('/'))
                folders.emplace_back(line.substr(0, line.find_last_not_of(" \t") + 1));
    }
    std::ranges::sort(folders);
    for (const char* folder : {"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"})
        folders.emplace_back(folder);
    return folders;
}

// The file that this code was loaded from.
fs::path own_file() {
    Dl_info info{};
    link_map* map = nullptr;
    if (dladdr1(reinterpret_cast<void*>(&own_file), &info, reinterpret_cast<void**>(&map),
                RTLD_DL_LINKMAP) != 0 &&
        map != nullptr && map->l_name[0] != '\0')
        return map->l_name;
    // The loader has no name for the program itself. Where there is no /proc, the kernel still
    // told the path by which the program was started.
    std::error_code none;
    if (fs::exists("/proc/self/exe", none)) return "/proc/self/exe";
    const auto* started_as = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
    return started_as == nullptr ? "" : started_as;
}

}  // namespace

std::unique_ptr<Compiler> open_library_compiler(const LibraryKind& kind, const fs::path& library,
                                                const Environment& environment) {
    try {
        return std::make_unique<LibraryCompiler>(kind, library, environment);
    } catch (const std::system_error& error) {  // no thread for the worker pool
        const CompilerEnd end = read_start_failure(error);
        throw CompileError(end.cause,
                           fmt::format("{} with {}: {}", kind.name, library.string(), end.line));
    }
}

std::optional<fs::path> find_library(const std::vector<std::string>& names,
                                     const std::vector<fs::path>& folders) {
    std::vector<fs::path> all = folders;
    for (fs::path& folder : loader_folders()) all.push_back(std::move(folder));
    std::error_code none;
    for (const fs::path& folder : all)
        for (const std::string& name : names)
            if (fs::is_regular_file(folder / name, none)) return folder / name;
    return std::nullopt;
}

std::vector<fs::path> rocm_library_folders(const Environment& environment) {
    std::vector<fs::path> roots, versions, folders;
    if (!environment.rocm_path.empty()) roots.emplace_back(environment.rocm_path);
    roots.emplace_back("/opt/rocm");
    std::error_code none;
    for (const auto& entry : fs::directory_iterator("/opt", none))
        if (entry.path().filename().string().starts_with("rocm-")) versions.push_back(entry.path());
    std::ranges::sort(versions, [](const fs::path& a, const fs::path& b) {
        return strverscmp(a.c_str(), b.c_str()) > 0;
    });
    roots.insert(roots.end(), versions.begin(), versions.end());
    for (const fs::path& root : roots)
        for (const char* below : {"lib", "lib64"}) folders.push_back(root / below);
    return folders;
}

fs::path worker_program(const Environment& environment) {
    if (!environment.worker.empty()) {
        if (access(environment.worker.c_str(), X_OK) == 0) return environment.worker;
        throw CompileError(CompileError::Cause::kNoCompiler,
                           fmt::format("HETUNE_WORKER='{}' is no program", environment.worker));
    }
    std::error_code none;
    const fs::path own = own_file();
    const fs::path folder = fs::canonical(own, none).parent_path();
    for (const char* above : {"..", "../.."}) {  // lib/ and lib/x86_64-linux-gnu/
        const fs::path program = folder / above / "libexec/hetune/hetune-worker";
        if (access(program.c_str(), X_OK) == 0) return program.lexically_normal();
    }
    throw CompileError(
        CompileError::Cause::kNoCompiler,
        fmt::format("no libexec/hetune/hetune-worker beside {}; reinstall hetune, or "
                    "set HETUNE_WORKER",
                    folder.empty() ? "this program, whose own file cannot be found without /proc"
                                   : folder.string()));
}

}  // namespace hetune
