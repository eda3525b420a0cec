// What the end of a compiler says: of the source, or of the machine on which it ran.
#pragma once

#include <string>
#include <string_view>
#include <system_error>

#include "runtime/compile/compiler.h"

namespace hetune {

struct CompilerEnd {
    CompileError::Cause cause = CompileError::Cause::kCrash;
    std::string line;  // the reason and, where there is any, the advice
};

// For a compiler that ended without an object. `exit_code` is -1 and `signal` set where a signal
// ended the process; a driver reports its own children by exit code 128 + signal or in its log.
// kSource only where `log` holds an error at a line of the kernel's own source, or says that the
// kernel needs more LDS or registers than there are, and no sign of a machine in trouble. Errors
// without a line (of a back end, a linker, a missing library) may be of this machine. An exit code
// alone proves nothing: clang ends with 1 where its cc1 was killed.
CompilerEnd read_compiler_end(int exit_code, int signal, const std::string& log);

// The same for a compiler that answered `log` and lives on.
CompilerEnd read_compiler_log(const std::string& log);

// For a compiler that could not be started.
CompilerEnd read_start_failure(const std::system_error& error);

// The line of a compiler's log that tells of an error, else its first line.
std::string first_error(std::string_view log);

}  // namespace hetune
