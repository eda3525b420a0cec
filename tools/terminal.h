// The streams of a command. Results go to stdout by fmt::print; a result that cannot be written
// fails the command. Remarks, warnings and progress go to stderr by tell(); text that stderr does
// not take is lost, and nothing else is.
#pragma once

#include <fmt/core.h>

#include <string_view>

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

// Result text that fmt::print does not write, and what is buffered of results. False when stdout
// did not take it; close_results() tells the reason.
bool write_result(std::string_view text);
bool flush_results();

// The reason, an errno, why a write to stdout failed; close_results() tells the first one. stdio
// keeps only that there was a failure.
void keep_write_error(int reason);

// Call last in main(): closes stdout. Returns `status`, or 1 behind a line on stderr when some
// result was not written. A reader of stdout that has gone away ends this process by SIGPIPE,
// silently, as programs do that do not handle the signal.
int close_results(int status);

}  // namespace hetune
