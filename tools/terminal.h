// The streams of a command. Results go to stdout by fmt::print; a result that cannot be written
// fails the command. Remarks, warnings and progress go to stderr by tell(); text that stderr does
// not take is lost, and nothing else is.
#pragma once

#include <fmt/core.h>

namespace hetune {

void vtell(fmt::string_view format, fmt::format_args args);

template <class... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) {
    vtell(format, fmt::make_format_args(args...));
}

// Call first in main(). Standard descriptors that the caller has closed are opened for reading, so
// that no file of this process gets their number; writing to them fails as before. SIGPIPE is
// ignored: a command goes on when only stderr has lost its reader.
void guard_standard_streams();

// Call last in main(): closes stdout. Returns `status`, or 1 behind a line on stderr when some
// result was not written. A reader of stdout that has gone away ends this process by SIGPIPE,
// silently, as programs do that do not handle the signal.
int close_results(int status);

}  // namespace hetune
