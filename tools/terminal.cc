#include "tools/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "runtime/compile/signal_action.h"

namespace hetune {
namespace {

int first_write_error = 0;  // errno; of the thread that runs the command

}  // namespace

void vtell(fmt::string_view format, fmt::format_args args) {
    const std::string text = fmt::vformat(format, args);
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
}

void guard_standard_streams() {
    for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (fcntl(descriptor, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
            open("/", O_RDONLY);  // gives the lowest free number, which is `descriptor`
    set_signal(SIGPIPE, SIG_IGN);
}

void keep_write_error(int reason) {
    if (first_write_error == 0) first_write_error = reason;
}

bool write_result(std::string_view text) {
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size()) return true;
    keep_write_error(errno);
    return false;
}

bool flush_results() {
    errno = 0;
    if (std::fflush(stdout) == 0) return true;
    keep_write_error(errno);
    return false;
}

int close_results(int status) {
    const bool failed_before = std::ferror(stdout) != 0;
    bool failed = !flush_results();
    // Some file systems tell of a full disk only when the file is closed.
    if (close(STDOUT_FILENO) != 0) {
        keep_write_error(errno);
        failed = true;
    }
    if (!failed_before && !failed) return status;
    const int reason = first_write_error;
    if (reason == EPIPE) {
        set_signal(SIGPIPE, SIG_DFL);
        std::raise(SIGPIPE);
    }
    tell("hetune: the result cannot be written to stdout{}\n",
         reason != 0 ? fmt::format(": {}", std::strerror(reason)) : "");
    return 1;
}

}  // namespace hetune
