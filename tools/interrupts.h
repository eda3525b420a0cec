// Ctrl-C and the other signals that ask a command to end. A command that has results to keep, or a
// terminal to put back, catches them; the signals end the other commands as they end any program.
#pragma once

#include <vector>

namespace hetune {

// From now on the first of `asking` makes interrupted() true, and the second ends this process at
// once, with exit code 128 + signal: a kernel or a compiler that hangs holds nobody up. What else
// of SIGINT, SIGTERM and SIGHUP comes ends it at once, too (nohup's SIGHUP stays ignored).
// Compilers end with this process. `put_back` runs before such an end; a signal handler calls it.
void catch_interrupts(const std::vector<int>& asking, void (*put_back)() noexcept = nullptr);

// A signal has asked for the end, or expect_end() was called.
bool interrupted();
// The next signal ends the process at once.
void expect_end();
// Forgets the signals that came: the work that they ended is over, another one begins.
void forget_interrupts();

// The exit code of a command that a signal has ended early, 130 for Ctrl-C; else `status`.
int interrupted_status(int status);

}  // namespace hetune
