#include "runtime/compile/compiler_end.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>

namespace hetune {
namespace {

using Cause = CompileError::Cause;

bool has(std::string_view text, std::string_view words) {
    return text.find(words) != std::string_view::npos;
}

template <class Visit>
void each_line(std::string_view text, Visit&& visit) {
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        visit(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

struct Trouble {
    std::string_view words;  // in a compiler's log
    Cause cause;
    const char* advice;
};

constexpr const char* kMemoryAdvice = "it ran out of memory; free some, or raise `ulimit -v`";
constexpr const char* kDiskAdvice =
    "it could not write its files; make room in the cache folder or set TMPDIR to another folder";
constexpr const char* kSizeAdvice = "it met the limit on the size of files; raise `ulimit -f`";

// strerror(3) of glibc and the words of LLVM 17 to 21. An error of the source never holds them,
// since the sources are self-contained.
constexpr Trouble kTroubles[] = {
    {"No space left on device", Cause::kDiskFull, kDiskAdvice},
    {"Disk quota exceeded", Cause::kDiskFull, kDiskAdvice},
    {"Read-only file system", Cause::kDiskFull, kDiskAdvice},
    {"Input/output error", Cause::kDiskFull, kDiskAdvice},
    {"unable to make temporary file", Cause::kDiskFull, kDiskAdvice},
    {"unable to open output file", Cause::kDiskFull, kDiskAdvice},
    {"File too large", Cause::kLimit, kSizeAdvice},
    {"File size limit exceeded", Cause::kLimit, kSizeAdvice},
    {"CPU time limit exceeded", Cause::kLimit, "it met the limit on processor time (`ulimit -t`)"},
    {"Too many open files", Cause::kLimit, "too many open files; raise `ulimit -n`"},
    {"Resource temporarily unavailable", Cause::kLimit,
     "no further process or thread could be started; raise `ulimit -u`"},
    {"Cannot allocate memory", Cause::kOutOfMemory, kMemoryAdvice},
    {"out of memory", Cause::kOutOfMemory, kMemoryAdvice},
    {"Out of memory", Cause::kOutOfMemory, kMemoryAdvice},
    {"OUT_OF_MEMORY", Cause::kOutOfMemory, kMemoryAdvice},
    {"OUT_OF_RESOURCES", Cause::kOutOfMemory, kMemoryAdvice},
    {"bad_alloc", Cause::kOutOfMemory, kMemoryAdvice},
    {"Allocation failed", Cause::kOutOfMemory, kMemoryAdvice},
    {"Memory allocation failure", Cause::kOutOfMemory, kMemoryAdvice},  // ptxas
    {"memory exhausted", Cause::kOutOfMemory, kMemoryAdvice},           // EDG, in NVRTC
    {"failed to map segment", Cause::kOutOfMemory, kMemoryAdvice},
    {"file not found", Cause::kCrash, "a file of its own is missing; reinstall it"},
};

// clang's driver on a child of its own that a signal ended.
constexpr std::string_view kChildDied = "unable to execute command: ";

// Takes the number at the end of a text, behind `before`; 0 where there is none.
int number_at_end(std::string_view& text, char before) {
    const size_t last = text.find_last_not_of("0123456789");
    if (last == std::string_view::npos || last + 1 == text.size() || text[last] != before) return 0;
    int number = 0;
    std::from_chars(text.data() + last + 1, text.data() + text.size(), number);
    text = text.substr(0, last);
    return number;
}

// "file:3:4", "file:3" and, of NVRTC, "file(3)", with a file of the kernel's source: #line names
// these below the folder of templates, while a compiler's own headers have a full path, and
// "<unknown>:0:0" is no line at all.
bool is_in_source(std::string_view place) {
    int line = 0;
    if (place.ends_with(')')) {
        place.remove_suffix(1);
        line = number_at_end(place, '(');
    } else {
        line = number_at_end(place, ':');
        if (const int before = number_at_end(place, ':'); before > 0) line = before;
    }
    return line > 0 && !place.empty() && !place.starts_with('/') && !place.starts_with('<');
}

bool about_source(std::string_view line) {
    for (const std::string_view word : {": error:", ": fatal error:"})
        if (const size_t at = line.find(word); at != std::string_view::npos)
            if (is_in_source(line.substr(0, at))) return true;
    // Of LDS and registers, by LLVM's back ends and ptxas, which know no line.
    return has(line, "error") && (has(line, "exceeds limit") || has(line, "uses too much"));
}

// Names a small stack, of which a compiler dies as if it were broken.
std::string stack_advice() {
    constexpr rlim_t kUsual = rlim_t{8} << 20;  // Linux's default
    rlimit stack{};
    if (getrlimit(RLIMIT_STACK, &stack) != 0 || stack.rlim_cur >= kUsual) return {};
    return fmt::format("; its stack is limited to {} KiB: raise `ulimit -s`", stack.rlim_cur >> 10);
}

CompilerEnd ended_by(int signal) {
    const std::string died =
        fmt::format("the compiler died: signal {} ({})", signal, strsignal(signal));
    switch (signal) {
        case SIGKILL:
            return {Cause::kKilled, died + "; if memory ran out, free some"};
        case SIGTERM:
        case SIGINT:
        case SIGHUP:
            return {Cause::kKilled, died};
        case SIGXCPU:
            return {Cause::kLimit, died + "; raise `ulimit -t`"};
        case SIGXFSZ:
            return {Cause::kLimit, fmt::format("{}; {}", died, kSizeAdvice)};
        default:
            return {Cause::kCrash, died + (signal == SIGSEGV ? stack_advice() : "")};
    }
}

}  // namespace

std::string first_error(std::string_view log) {
    std::string_view found, last;
    each_line(log, [&](std::string_view line) {
        if (found.empty() && (has(line, "error:") || has(line, "LLVM ERROR"))) found = line;
        if (last.empty()) last = line;
    });
    return std::string(found.empty() ? last : found);
}

CompilerEnd read_compiler_log(const std::string& log) {
    for (const Trouble& trouble : kTroubles)
        if (has(log, trouble.words)) {
            std::string said;
            each_line(log, [&](std::string_view line) {
                if (said.empty() && has(line, trouble.words)) said = line;
            });
            return {trouble.cause, fmt::format("{} ({})", trouble.advice, said)};
        }
    if (const size_t at = log.find(kChildDied); at != std::string::npos) {
        const std::string_view name = std::string_view(log).substr(
            at + kChildDied.size(), log.find('\n', at) - at - kChildDied.size());
        for (const int signal : {SIGKILL, SIGTERM, SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE})
            if (name.starts_with(strsignal(signal))) return ended_by(signal);
        return {Cause::kCrash, fmt::format("the compiler died: {}", name)};
    }
    bool source = false;
    each_line(log, [&](std::string_view line) { source |= about_source(line); });
    if (source) return {Cause::kSource, first_error(log)};
    return {Cause::kCrash, log.empty() ? "the compiler gave no reason" : first_error(log)};
}

CompilerEnd read_compiler_end(int exit_code, int signal, const std::string& log) {
    // What a shell and clang's driver make of a signal.
    constexpr int kSignalled = 128;
    constexpr int kNotStarted = 127, kNotRunnable = 126;
    if (signal == 0 && exit_code > kSignalled && exit_code <= kSignalled + SIGSYS)
        signal = exit_code - kSignalled;
    CompilerEnd end = read_compiler_log(log);
    const bool reason = end.cause != Cause::kCrash && end.cause != Cause::kSource;
    if (reason) return end;
    if (signal != 0) return ended_by(signal);
    if (exit_code == kNotStarted || exit_code == kNotRunnable)
        return {Cause::kNoCompiler, fmt::format("the compiler cannot be started{}{}",
                                                log.empty() ? "" : ": ", first_error(log))};
    if (end.cause == Cause::kCrash && log.empty())
        end.line = fmt::format("the compiler died: exit code {}, without a word", exit_code);
    return end;
}

CompilerEnd read_start_failure(const std::system_error& error) {
    CompilerEnd end = read_compiler_log(error.what());
    if (end.cause == Cause::kCrash) end.cause = Cause::kLimit;
    return end;
}

}  // namespace hetune
