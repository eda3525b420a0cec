// Compilers behind the worker, with the fake worker: what the caller sees of each failure.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "runtime/compile/child.h"
#include "runtime/compile/compiler_facts.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/compile/library_compiler.h"

namespace hetune::testing {
namespace {

namespace fs = std::filesystem;
using Cause = CompileError::Cause;

const LibraryKind kFake = {.name = "fake",
                           .family = TargetFamily::kAmd,
                           .baseline_arch = "gfx1030",
                           .options = [](const std::string& arch) -> std::vector<std::string> {
                               return {"--offload-arch=" + arch};
                           }};

Environment environment(const std::string& cache_folder = {}) {
    return {.worker = HETUNE_FAKE_WORKER,
            .cache_folder = cache_folder,
            .compile_timeout = std::chrono::milliseconds(2000)};
}

// A file that stands for the library; the fake worker does not open it.
fs::path library_in(const ScratchFolder& folder, const std::string& content = "library") {
    const fs::path file = fs::path(folder.path()) / "libfake.so.1";
    std::ofstream(file) << content;
    return file;
}

CompileError error_of(Compiler& compiler, const std::string& source) {
    try {
        compiler.compile({"gemv", source, find_arch("gfx1100")});
    } catch (const CompileError& error) {
        return error;
    }
    FAIL("compiled: ", source);
    return {Cause::kSource, ""};
}

TEST_CASE(
    "each way in which a compiler fails is a CompileError that names kernel, arch and compiler") {
    const ScratchFolder folder;
    const auto compiler = open_library_compiler(kFake, library_in(folder), environment());
    struct Case {
        const char* source;
        Cause cause;
        const char* says;
    };
    for (const Case& c :
         {Case{"abort", Cause::kCrash, "the compiler died: signal 6 (Aborted)"},
          Case{"segfault", Cause::kCrash, "the compiler died: signal 11"},
          Case{"garbage", Cause::kCrash, "it answered with garbage"},
          Case{"hang", Cause::kTimeout, "no answer in 2 s; killed; HETUNE_COMPILE_TIMEOUT"},
          Case{"refuse", Cause::kSource, "gemv.hip:1:7: error: no"},
          Case{"no room", Cause::kDiskFull, "No space left on device"},
          Case{"no ELF", Cause::kCrash, "not a code object"}}) {
        CAPTURE(c.source);
        const CompileError error = error_of(*compiler, c.source);
        CHECK(error.cause() == c.cause);
        CHECK(std::string(error.what()).find("compiling gemv for gfx1100 with fake: ") == 0);
        CHECK(std::string(error.what()).find(c.says) != std::string::npos);
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
    CHECK(error_of(*compiler, "abort").log().find("LLVM ERROR: asked to abort") == 0);
    CHECK(error_of(*compiler, "refuse").log() == "gemv.hip:1:7: error: no\nall of it");
}

TEST_CASE("a library that cannot be opened is no compiler, and the error says why") {
    try {
        open_library_compiler(kFake, "/no/such/library", environment());
        FAIL("opened");
    } catch (const CompileError& error) {
        CHECK(error.cause() == Cause::kNoCompiler);
        CHECK(std::string(error.what()).find("libfake.so: not found") != std::string::npos);
    }
    Environment no_worker = environment();
    no_worker.worker = "/no/such/worker";
    CHECK_THROWS_WITH(open_library_compiler(kFake, "/x", no_worker),
                      "HETUNE_WORKER='/no/such/worker' is no program");
}

TEST_CASE("what a library is and can is kept, until one of its files changes") {
    const ScratchFolder folder, cache;
    const fs::path library = library_in(folder);
    const std::string identity =
        open_library_compiler(kFake, library, environment(cache.path()))->identity();
    CHECK(identity.starts_with("fake 1.0 "));
    const auto kept = find_facts(cache.path(), library);
    REQUIRE(kept.has_value());
    CHECK(kept->identity == identity);
    CHECK(kept->archs == std::map<std::string, std::string>{{"gfx1030", ""}});

    // Asked for an arch once only: no worker could answer the second time.
    CHECK(open_library_compiler(kFake, library, environment(cache.path()))
              ->supports(find_arch("gfx1100")));
    Environment deaf = environment(cache.path());
    deaf.worker = "/bin/false";
    CHECK(open_library_compiler(kFake, library, deaf)->supports(find_arch("gfx1100")));

    fs::remove(library);
    library_in(folder, "another build");
    CHECK_FALSE(find_facts(cache.path(), library).has_value());
    CHECK(open_library_compiler(kFake, library, environment(cache.path()))->identity() != identity);
}

TEST_CASE("facts that others could have written, and damaged ones, are not read") {
    const ScratchFolder folder, cache;
    const fs::path library = library_in(folder);
    keep_facts(cache.path(), library, {.version = "1", .identity = "fake 1", .files = {library}});
    REQUIRE(find_facts(cache.path(), library).has_value());
    const fs::path file = fs::path(cache.path()) / "compilers.json";
    chmod(file.c_str(), 0666);
    CHECK_FALSE(find_facts(cache.path(), library).has_value());
    chmod(file.c_str(), 0600);
    CHECK(find_facts(cache.path(), library).has_value());
    for (const char* damage : {"{", "[]", "{\"format\": 1}", "{\"format\": 1, \"libraries\": 7}"}) {
        std::ofstream(file) << damage;
        CHECK_FALSE(find_facts(cache.path(), library).has_value());
        keep_facts(cache.path(), library,
                   {.version = "1", .identity = "fake 1", .files = {library}});
        CHECK(find_facts(cache.path(), library).has_value());
    }
}

// The fake worker fails on these as their names say.
Arch arch_named(const std::string& name) {
    Arch arch = find_arch("gfx1100");
    arch.name = name;
    return arch;
}

TEST_CASE("an arch that kills the compiler is not supported, and that is remembered") {
    const ScratchFolder folder, cache;
    const fs::path library = library_in(folder);
    const auto compiler = open_library_compiler(kFake, library, environment(cache.path()));
    CHECK(compiler->supports(find_arch("gfx1100")));
    CHECK_FALSE(compiler->supports(find_arch("sm_90")));
    CHECK_FALSE(compiler->supports(arch_named("abort")));
    CHECK(compiler->supports(find_arch("gfx1151")));
    const auto kept = find_facts(cache.path(), library);
    CHECK(kept->archs.at("abort").find("Aborted") != std::string::npos);
    CHECK(kept->archs.at("gfx1151").empty());
}

TEST_CASE("a probe that hangs says nothing about the arch, and is not remembered") {
    const ScratchFolder folder, cache;
    const fs::path library = library_in(folder);
    const auto compiler = open_library_compiler(kFake, library, environment(cache.path()));
    CHECK_FALSE(compiler->supports(arch_named("hang")));
    CHECK_FALSE(find_facts(cache.path(), library)->archs.contains("hang"));
}

TEST_CASE("a compiler that hung twice is not asked a third time") {
    const ScratchFolder folder;
    Environment hasty = environment();
    hasty.compile_timeout = std::chrono::milliseconds(200);
    const auto compiler = open_library_compiler(kFake, library_in(folder), hasty);
    for (const char* says : {"no answer in 0.2 s", "no answer in 0.2 s", "not tried"}) {
        const CompileError error = error_of(*compiler, "hang");
        CHECK(error.cause() == Cause::kTimeout);
        CHECK(std::string(error.what()).find(says) != std::string::npos);
    }
    CHECK(error_of(*compiler, "anything").cause() == Cause::kTimeout);
}

#ifndef __SANITIZE_ADDRESS__
TEST_CASE("a compiler that runs out of memory says nothing about the kernel") {
    const ScratchFolder folder;
    const auto compiler = open_library_compiler(kFake, library_in(folder), environment());
    const CompileError error = error_of(*compiler, "memory");
    CHECK(error.cause() == Cause::kOutOfMemory);
    CHECK_FALSE(error.is_verdict());
}
#endif

TEST_CASE("clang without its ld.lld is no compiler, and the error says what to install") {
    const ScratchFolder folder;
    const std::string clang = folder.path() + "/clang";
    std::ofstream(clang) << "#!/bin/sh\n";
    chmod(clang.c_str(), 0700);
    Environment forced = environment();
    forced.clang = clang;
    CHECK_THROWS_WITH_AS(choose_compiler(find_arch("gfx1100"), forced, "clang"),
                         doctest::Contains("has no ld.lld beside it; install the lld"),
                         CompileError);
}

// A compiler made of shell commands, with a linker beside it.
std::unique_ptr<Compiler> scripted_clang(const ScratchFolder& folder, const std::string& commands,
                                         std::chrono::milliseconds limit) {
    const std::string clang = folder.path() + "/clang";
    for (const std::string& file : {clang, folder.path() + "/ld.lld"}) {
        std::ofstream(file) << "#!/bin/sh\n" << commands << '\n';
        chmod(file.c_str(), 0700);
    }
    Environment forced = environment();
    forced.worker = HETUNE_WORKER_PROGRAM;  // clang's guard; the fake worker is none
    forced.clang = clang;
    forced.compile_timeout = limit;
    return choose_compiler(find_arch("gfx1100"), forced, "clang");
}

TEST_CASE("what clang's end says is of the source only where clang points at it") {
    struct Case {
        const char* commands;
        Cause cause;
    };
    for (const Case& c : {
             Case{"echo 'linear/gemv.hip:1:9: error: expected expression' >&2; exit 1",
                  Cause::kSource},
             // A linker, a back end and a header of the compiler's own may be broken themselves.
             Case{"echo 'ld.lld: error: undefined symbol: g()' >&2; exit 1", Cause::kCrash},
             Case{"echo '/usr/lib/clang/19/include/x.h:7:1: error: expected }' >&2; exit 1",
                  Cause::kCrash},
             Case{"echo '<unknown>:0:0: error: ran out of registers' >&2; exit 1", Cause::kCrash},
             Case{"echo \"linear/gemv.hip:1:10: fatal error: 'x.h' file not found\" >&2; exit 1",
                  Cause::kCrash},
             Case{"echo 'error: local memory (70000) exceeds limit (65536)' >&2; exit 1",
                  Cause::kSource},
             Case{"echo 'fatal error: error in backend: Cannot select' >&2; exit 70",
                  Cause::kCrash},
             Case{"echo 'fatal error: error in backend: IO failure on output stream: Bad file "
                  "descriptor' >&2; exit 70",
                  Cause::kCrash},
             Case{"exit 1", Cause::kCrash},
             Case{"echo 'clang: error: unable to execute command: Killed' >&2; exit 1",
                  Cause::kKilled},
             Case{"echo 'clang: error: unable to execute command: Segmentation fault' >&2; exit 1",
                  Cause::kCrash},
             Case{"echo 'clang: error: unable to execute command: Killed' >&2; exit 254",
                  Cause::kKilled},
             Case{"echo 'clang: error: unable to make temporary file: No such file' >&2; exit 1",
                  Cause::kDiskFull},
             Case{"echo 'f.hip:1:9: error: x'; echo 'write: No space left on device' >&2; exit 1",
                  Cause::kDiskFull},
             Case{"echo 'LLVM ERROR: out of memory' >&2; exit 134", Cause::kOutOfMemory},
             Case{"echo 'libLLVM.so: failed to map segment from shared object' >&2; exit 127",
                  Cause::kOutOfMemory},
             Case{"echo 'error: Too many open files' >&2; exit 1", Cause::kLimit},
             Case{"kill -9 $$", Cause::kKilled}, Case{"kill -15 $$", Cause::kKilled},
             Case{"kill -11 $$", Cause::kCrash}, Case{"kill -24 $$", Cause::kLimit},
             // SIGXFSZ, which our children ignore: they meet EFBIG; a driver's own may die of it.
             Case{"exit 153", Cause::kLimit},
             Case{"echo 'LLVM ERROR: IO failure on output stream: File too large' >&2; exit 1",
                  Cause::kLimit},
             Case{"exit 139", Cause::kCrash}, Case{"exit 137", Cause::kKilled},
             Case{"exit 0", Cause::kCrash},  // without an object
         }) {
        CAPTURE(c.commands);
        const ScratchFolder folder;
        const auto clang = scripted_clang(folder, c.commands, std::chrono::seconds(60));
        const CompileError error = error_of(*clang, "x");
        CAPTURE(error.what());
        CHECK(error.cause() == c.cause);
        CHECK(std::string(error.what()).find("compiling gemv for gfx1100 with clang: ") == 0);
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
}

// Of each library, with the status that its headers give a compile that failed.
struct LibraryDouble {
    LibraryKind kind;
    int of_source, no_memory, internal;
    const char* place;  // as the library's front end writes it
};
LibraryKind double_of(const char* name, TargetFamily family, const char* arch) {
    return {.name = name, .family = family, .baseline_arch = arch, .options = [](const auto&) {
                return std::vector<std::string>();
            }};
}

TEST_CASE("what a library's end says is of the source only where status and log say so") {
    const std::string place = "moe/router.hip:12:3: error: use of undeclared identifier 'x'";
    for (const LibraryDouble& library : {
             LibraryDouble{double_of("nvrtc", TargetFamily::kNvidia, "sm_80"), 6, 1, 11,
                           "moe/router.hip(12): error: identifier \"x\" is undefined"},
             LibraryDouble{double_of("hiprtc", TargetFamily::kAmd, "gfx1100"), 6, 1, 11,
                           place.c_str()},
             LibraryDouble{double_of("comgr", TargetFamily::kAmd, "gfx1100"), 1, 3, 2,
                           place.c_str()},
         }) {
        Environment real = environment();
        real.worker = HETUNE_WORKER_PROGRAM;
        const auto compiler = open_library_compiler(library.kind, HETUNE_FAKE_COMPILERS, real);
        struct Case {
            int status;
            std::string log;
            Cause cause;
        };
        for (const Case& c : {
                 Case{library.of_source, library.place, Cause::kSource},
                 Case{library.of_source, "error: LDS (70000) exceeds limit (65536)",
                      Cause::kSource},
                 // The library's own words for a lack of memory, beside an error or alone.
                 Case{library.no_memory, "", Cause::kOutOfMemory},
                 Case{library.no_memory, library.place, Cause::kOutOfMemory},
                 Case{library.of_source, "LLVM ERROR: out of memory", Cause::kOutOfMemory},
                 Case{library.of_source, "ptxas fatal   : Memory allocation failure",
                      Cause::kOutOfMemory},
                 Case{library.of_source, "std::bad_alloc", Cause::kOutOfMemory},
                 Case{library.of_source,
                      std::string(library.place) + "\nLLVM ERROR: Allocation failed",
                      Cause::kOutOfMemory},
                 Case{library.of_source, "write: No space left on device", Cause::kDiskFull},
                 // Nothing that names a line of the source.
                 Case{library.of_source, "", Cause::kCrash},
                 Case{library.of_source, "error: failed to open a file", Cause::kCrash},
                 Case{library.of_source, "/tmp/comgr-1/hiprtc_runtime.h:9:1: error: expected }",
                      Cause::kCrash},
                 Case{library.of_source, "ptxas fatal   : Internal error", Cause::kCrash},
                 Case{library.internal, library.place, Cause::kCrash},
             }) {
            CAPTURE(library.kind.name);
            CAPTURE(c.status);
            CAPTURE(c.log);
            const CompileError error = error_of(*compiler, fmt::format("{} {}", c.status, c.log));
            CAPTURE(error.what());
            CHECK(error.cause() == c.cause);
            CHECK(error.is_verdict() == (c.cause == Cause::kSource));
        }
    }
}

TEST_CASE("clang that closes its outputs and stays is ended in time") {
    const ScratchFolder folder;
    const auto clang =
        scripted_clang(folder, "exec >&- 2>&-; sleep 1000", std::chrono::milliseconds(300));
    CHECK(error_of(*clang, "x").cause() == Cause::kTimeout);
}

TEST_CASE("a library is found in the order of folders, then of names") {
    const ScratchFolder first, second;
    const fs::path old_one = fs::path(first.path()) / "libfake.so.5";
    const fs::path new_one = fs::path(second.path()) / "libfake.so.7";
    std::ofstream(old_one) << 1;
    std::ofstream(new_one) << 1;
    const std::vector<std::string> names = {"libfake.so.7", "libfake.so.5"};
    CHECK(find_library(names, {first.path(), second.path()}) == old_one);
    CHECK(find_library(names, {second.path(), first.path()}) == new_one);
    CHECK_FALSE(find_library({"libfake.so.9"}, {first.path()}).has_value());
}

TEST_CASE("the gates refuse scratch and every spilled register") {
    const Arch arch = find_arch("gfx1100");
    CodeObject code;
    code.resources = {.vgprs = 64,
                      .sgprs = 106,
                      .lds_bytes = 0,
                      .scratch_bytes = 0,
                      .spilled_vgprs = 0,
                      .spilled_sgprs = 0};
    CHECK_NOTHROW(check_resources(code, arch));
    for (int KernelResources::*wrong :
         {&KernelResources::scratch_bytes, &KernelResources::spilled_vgprs,
          &KernelResources::spilled_sgprs}) {
        CodeObject bad = code;
        bad.resources.*wrong = 1;
        CHECK_THROWS_AS(check_resources(bad, arch), CompileError);
    }
}

TEST_CASE("a forced compiler that is unknown or unfit is refused by name") {
    const Environment none;
    CHECK_THROWS_WITH_AS(choose_compiler(find_arch("gfx1100"), none, "icc"),
                         doctest::Contains("unknown compiler 'icc'; known: "), CompileError);
    CHECK_THROWS_WITH_AS(choose_compiler(find_arch("gfx1100"), none, "nvrtc"),
                         "compiler nvrtc does not compile for gfx1100", CompileError);
}

}  // namespace
}  // namespace hetune::testing
