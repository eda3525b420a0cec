// sigaction() for the plain cases. signal() leaves to the system whether a handler stays in place
// and whether a system call that it interrupts goes on.
#pragma once

#include <signal.h>

namespace hetune {

// `action` is a handler, SIG_IGN or SIG_DFL. Interrupted system calls go on. May be called between
// vfork() and exec.
inline void set_signal(int number, void (*action)(int)) {
    struct sigaction wanted = {};
    wanted.sa_handler = action;
    wanted.sa_flags = SA_RESTART;
    sigemptyset(&wanted.sa_mask);
    sigaction(number, &wanted, nullptr);
}

}  // namespace hetune
