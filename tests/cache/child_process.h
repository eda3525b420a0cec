// Real processes for the tests: forked before any store is open in the parent.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace hetune {

// Runs `body` in a child and ends the child with its result, without running the parent's exit
// handlers.
inline pid_t start_child(const std::function<int()>& body) {
    const pid_t child = fork();
    if (child != 0) return child;
    int result = 99;
    try {
        result = body();
    } catch (...) {
    }
    _exit(result);
}

// The exit status; 128 + signal for a child that was killed.
inline int wait_for_child(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace hetune
