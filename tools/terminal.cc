#include "tools/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace hetune {

void vtell(fmt::string_view format, fmt::format_args args) {
    const std::string text = fmt::vformat(format, args);
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
}

void guard_standard_streams() {
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (fcntl(descriptor, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
            open("/", O_RDONLY);  // gives the lowest free number, which is `descriptor`
    std::signal(SIGPIPE, SIG_IGN);
}

int close_results(int status) {
    const bool failed_before = std::ferror(stdout) != 0;
    errno = 0;
    // A write that failed before fails again here, and says why. Some file systems tell of a full
    // disk only when the file is closed.
    const bool failed = std::fflush(stdout) != 0 || close(STDOUT_FILENO) != 0;
    if (!failed_before && !failed) return status;
    const int reason = errno;
    if (reason == EPIPE) {
        std::signal(SIGPIPE, SIG_DFL);
        std::raise(SIGPIPE);
    }
    tell("hetune: the result cannot be written to stdout{}\n",
         reason != 0 ? fmt::format(": {}", std::strerror(reason)) : "");
    return 1;
}

}  // namespace hetune
