// What hetune does about the limits of the shell that started it (ulimit).
#pragma once

#include <functional>

namespace hetune {

// Runs `body` so that small limits are errors of single calls, or no matter at all: a write beyond
// the size of a file (`ulimit -f`) fails instead of ending the process, as many files may be open
// as the hard limit allows, and threads have 8 MiB of stack, `body` included, however little
// `ulimit -s` gives. Gives what `body` gives.
int run_within_limits(const std::function<int()>& body);

}  // namespace hetune
